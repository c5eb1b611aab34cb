// Offload: blocking calls run on its threads, in order, and are dropped if they have not begun.
#include "ring/offload.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "ring/timeout.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::milliseconds;

// Work that waits until it is released, like a call that blocks.
struct Blocking {
  Status operator()() {
    began.set_value();
    go.get_future().wait();
    ran_on = std::this_thread::get_id();
    return status;
  }

  Status status;
  std::promise<void> began;
  std::promise<void> go;
  std::thread::id ran_on;
};

struct Runner {
  Runner(Offload& where, Ring& ring) : offload(where), count(ring) {}

  template <typename Work>
  Task run(Request&, Work& work, const char* name = "work") {
    Offload::Job job(offload, count, name, work);
    const Status status = co_await job;
    co_return status;
  }
  template <typename Work>
  Task limited(Request& request, Work& work, std::chrono::nanoseconds duration) {
    Timeout timeout(*request.ring, duration);
    Offload::Job job(offload, count, "limited", work);
    auto limit = timeout.limit(job);
    const Status status = co_await limit;
    co_return status;
  }

  Offload& offload;
  ExternalCount count;
};

class OffloadTest : public OnKernelRing {
 protected:
  void SetUp() override {
    OnKernelRing::SetUp();
    if (IsSkipped()) return;
    auto made = Offload::create(2);
    ASSERT_TRUE(made) << made.error().text;
    offload_ = std::move(*made);
    runner_ = std::make_unique<Runner>(*offload_, ring());
  }
  void TearDown() override {
    runner_.reset();
    tags_.clear();
  }

  Request& make() {
    tags_.push_back(std::make_unique<TestTag>(ring()));
    return tags_.back()->make(Op::flush, 0, uint64_t{0});
  }
  int end_of(const Task& task) {
    while (!task.finished()) ring().run_once(true);
    return task.status().error();
  }

  std::unique_ptr<Offload> offload_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(OffloadTest, AJobRunsOnAnotherThreadAndItsCoroutineOnItsOwn) {
  Blocking work;
  work.status = Status::from_errno(ENOENT);
  const Task task = runner_->run(make(), work);
  work.began.get_future().wait();
  settle();
  EXPECT_FALSE(task.finished());
  work.go.set_value();
  EXPECT_EQ(end_of(task), ENOENT);
  EXPECT_NE(work.ran_on, std::this_thread::get_id());
}

TEST_F(OffloadTest, WhatFindsNoThreadFreeTakesItsTurn) {
  Blocking first;
  Blocking second;
  std::vector<int> order;
  std::mutex mutex;
  std::vector<std::unique_ptr<Task>> later;
  const Task one = runner_->run(make(), first);
  const Task two = runner_->run(make(), second);
  first.began.get_future().wait();
  second.began.get_future().wait();
  struct Note {
    Status operator()() const {
      const std::scoped_lock guard(*mutex);
      order->push_back(number);
      return kOk;
    }
    std::vector<int>* order;
    std::mutex* mutex;
    int number;
  };
  std::vector<Note> notes;
  for (int i = 0; i < 5; ++i) notes.push_back({&order, &mutex, i});
  for (Note& note : notes) later.push_back(std::make_unique<Task>(runner_->run(make(), note)));
  settle();
  EXPECT_TRUE(order.empty());
  first.go.set_value();  // one thread takes them all
  for (const auto& task : later) EXPECT_EQ(end_of(*task), 0);
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
  second.go.set_value();
  EXPECT_EQ(end_of(one), 0);
  EXPECT_EQ(end_of(two), 0);
}

TEST_F(OffloadTest, WhatRunsIsNamedWithItsAge) {
  Blocking work;
  EXPECT_TRUE(offload_->running().empty());
  const Task task = runner_->run(make(), work, "open a file that hangs");
  work.began.get_future().wait();
  std::this_thread::sleep_for(milliseconds(10));
  const std::vector<Offload::Running> running = offload_->running();
  ASSERT_EQ(running.size(), 1U);
  EXPECT_EQ(running[0].name, "open a file that hangs");
  EXPECT_GE(running[0].age, milliseconds(10));
  work.go.set_value();
  EXPECT_EQ(end_of(task), 0);
  EXPECT_TRUE(offload_->running().empty());
}

TEST_F(OffloadTest, AStopDropsWhatHasNotBegun) {
  Blocking first;
  Blocking second;
  Blocking never;
  const Task one = runner_->run(make(), first);
  const Task two = runner_->run(make(), second);
  first.began.get_future().wait();
  second.began.get_future().wait();
  const Task dropped = runner_->run(make(), never);
  const Task also_dropped = runner_->run(make(), never);
  offload_->stop();
  EXPECT_EQ(end_of(dropped), ECANCELED);
  EXPECT_EQ(end_of(also_dropped), ECANCELED);
  EXPECT_FALSE(one.finished());
  const Task late = runner_->run(make(), never);
  EXPECT_EQ(end_of(late), ECANCELED);
  first.go.set_value();
  second.go.set_value();
  EXPECT_EQ(end_of(one), 0);
  EXPECT_EQ(end_of(two), 0);
}

TEST_F(OffloadTest, ItsEndWaitsForWhatRuns) {
  Blocking work;
  const Task task = runner_->run(make(), work);
  work.began.get_future().wait();
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(20));
    work.go.set_value();
  });
  offload_.reset();
  EXPECT_NE(work.ran_on, std::thread::id());
  EXPECT_EQ(end_of(task), 0);
  other.join();
}

TEST_F(OffloadTest, ATimeoutDropsWhatHasNotBegun) {
  Blocking first;
  Blocking second;
  Blocking never;
  const Task one = runner_->run(make(), first);
  const Task two = runner_->run(make(), second);
  const Task late = runner_->limited(make(), never, milliseconds(10));
  EXPECT_EQ(end_of(late), ETIMEDOUT);
  first.go.set_value();
  second.go.set_value();
  EXPECT_EQ(end_of(one), 0);
  EXPECT_EQ(end_of(two), 0);
}

TEST_F(OffloadTest, ATimeoutWaitsForWhatHasBegun) {
  Blocking work;
  const Task task = runner_->limited(make(), work, milliseconds(5));
  work.began.get_future().wait();
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(30));
    work.go.set_value();
  });
  EXPECT_EQ(end_of(task), 0) << "it was done";
  other.join();
}

TEST_F(OffloadTest, AJobAllocatesNothing) {
  auto work = [] { return kOk; };
  TestTag tag(ring());
  uint64_t before = 0;
  for (int round = 0; round < 20; ++round) {
    if (round == 3) before = allocations();
    const Task task = runner_->run(tag.make(Op::flush, 0, uint64_t{0}), work);
    while (!task.finished()) ring().run_once(true);
  }
  EXPECT_EQ(allocations(), before);
}

// Rings on several threads start more jobs than there are threads, while one of them stops the
// Offload.
TEST(OffloadThreads, NothingIsLostWhenItStops) {
  for (int round = 0; round < 30; ++round) {
    auto offload = Offload::create(2);
    ASSERT_TRUE(offload) << offload.error().text;
    std::atomic<int> done = 0;
    std::atomic<int> dropped = 0;
    auto work = [&] {
      ++done;
      return kOk;
    };
    const auto use = [&] {
      auto ring = KernelRing::create({.entries = 16});
      ASSERT_TRUE(ring) << ring.error().text;
      std::vector<std::unique_ptr<TestTag>> tags;
      Runner runner(**offload, **ring);
      std::vector<std::unique_ptr<Task>> tasks;
      for (int i = 0; i < 20; ++i) {
        tags.push_back(std::make_unique<TestTag>(**ring));
        Request& request = tags.back()->make(Op::flush, 0, uint64_t{0});
        tasks.push_back(std::make_unique<Task>(runner.run(request, work)));
      }
      if (round % 3 == 0) (*offload)->stop();
      for (const auto& task : tasks) {
        while (!task->finished()) (*ring)->run_once(true);
        if (task->status().error() == ECANCELED) ++dropped;
      }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back(use);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(done + dropped, 60);
    if (round % 3 != 0) EXPECT_EQ(dropped, 0);
  }
}

}  // namespace
}  // namespace sluice::test
