// RangeLock: which holds wait for which, in which order, and across threads.
#include "ring/range_lock.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "core/gather.hpp"
#include "ring/kernel_ring.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {
namespace {

using Mode = RangeLock::Mode;

// Holds a range for as long as an operation on file `number` takes.
class Holder {
 public:
  Task hold(Request& request, RangeLock& lock, int number, Mode mode) {
    RangeLock::Hold hold(lock, *request.ring, request.offset, request.length, mode);
    co_await hold;
    auto working = request.ring->sync({.number = number}, true);
    co_return co_await working;
  }
};

class RangeLockTest : public testing::Test {
 protected:
  void start(uint64_t offset, uint64_t length, Mode mode = Mode::exclusive) {
    const int number = static_cast<int>(tasks_.size());
    tags_.push_back(std::make_unique<TestTag>(ring_));
    Request& request = tags_.back()->make(Op::flush, offset, length);
    tasks_.push_back(std::make_unique<Task>(holder_.hold(request, lock_, number, mode)));
    ring_.settle();
  }
  void end(int number) {
    for (size_t i = 0; i < ring_.pending(); ++i) {
      if (ring_.sqe(i).fd != number) continue;
      ring_.complete(i, 0);
      tasks_[static_cast<size_t>(number)].reset();
      return;
    }
    FAIL() << number << " does not hold its range";
  }
  std::vector<int> holders() const {
    std::vector<int> numbers;
    numbers.reserve(ring_.pending());
    for (size_t i = 0; i < ring_.pending(); ++i) numbers.push_back(ring_.sqe(i).fd);
    return numbers;
  }

  RangeLock lock_;
  ManualRing ring_;
  Holder holder_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  std::vector<std::unique_ptr<Task>> tasks_;
};

using Numbers = std::vector<int>;

TEST_F(RangeLockTest, DisjointRangesDoNotWait) {
  start(0, 100);
  start(100, 100);
  start(200, 1);
  EXPECT_EQ(holders(), (Numbers{0, 1, 2}));
  for (int number : {1, 0, 2}) end(number);
}

TEST_F(RangeLockTest, OverlappingRangesTakeTurns) {
  start(0, 100);
  start(99, 100);
  start(150, 100);
  EXPECT_EQ(holders(), Numbers{0});
  end(0);
  EXPECT_EQ(holders(), Numbers{1});
  end(1);
  EXPECT_EQ(holders(), Numbers{2});
  end(2);
}

TEST_F(RangeLockTest, SharedHoldersShare) {
  start(0, 100, Mode::shared);
  start(50, 100, Mode::shared);
  start(80, 10, Mode::exclusive);
  start(60, 10, Mode::shared);
  start(85, 10, Mode::shared);
  EXPECT_EQ(holders(), (Numbers{0, 1, 3})) << "4 comes after 2, which waits";
  end(0);
  EXPECT_EQ(holders(), (Numbers{1, 3}));
  end(1);
  EXPECT_EQ(holders(), (Numbers{3, 2}));
  end(2);
  EXPECT_EQ(holders(), (Numbers{3, 4}));
  end(3);
  end(4);
}

TEST_F(RangeLockTest, ASharedHoldDoesNotSuspendWhileNobodyWantsAnExclusiveOne) {
  const auto is_ready = [this](Mode mode) {
    RangeLock::Hold hold(lock_, ring_, 1000, 1, mode);
    return hold.await_ready();
  };
  EXPECT_TRUE(is_ready(Mode::shared));
  EXPECT_FALSE(is_ready(Mode::exclusive)) << "joining decides";
  start(0, 100, Mode::exclusive);
  EXPECT_FALSE(is_ready(Mode::shared));
  end(0);
  EXPECT_TRUE(is_ready(Mode::shared));
}

TEST_F(RangeLockTest, AnExclusiveHoldWaitsForThoseThatAreOnlyCounted) {
  start(0, 100, Mode::shared);
  start(500, 100, Mode::exclusive);
  start(0, 100, Mode::shared);
  EXPECT_EQ(holders(), (Numbers{0, 2})) << "which have no range";
  end(0);
  EXPECT_EQ(holders(), (Numbers{2, 1})) << "2 has one, elsewhere";
  end(1);
  end(2);
}

TEST_F(RangeLockTest, AllWhoOnlyWaitedForOneGoOnTogether) {
  start(0, 100);
  start(0, 10);
  start(10, 10);
  start(5, 10);
  EXPECT_EQ(holders(), Numbers{0});
  end(0);
  EXPECT_EQ(holders(), (Numbers{1, 2}));
  end(2);
  EXPECT_EQ(holders(), Numbers{1});
  end(1);
  EXPECT_EQ(holders(), Numbers{3});
  end(3);
}

TEST_F(RangeLockTest, AnEmptyRangeIsInNobodysWay) {
  start(0, 100);
  start(50, 0);
  EXPECT_EQ(holders(), (Numbers{0, 1}));
  end(0);
  end(1);
}

// Threads that count, each with its own ring, in overlapping ranges.
struct Counting {
  RangeLock lock;
  int inside = 0;  // guarded by the lock alone
  int total = 0;

  Task count(Request& request, int rounds) {
    for (int i = 0; i < rounds; ++i) {
      RangeLock::Hold hold(lock, *request.ring, request.offset, request.length, Mode::exclusive);
      co_await hold;
      EXPECT_EQ(++inside, 1);
      auto resting = request.ring->sleep(std::chrono::nanoseconds(1000));
      const Status rested = co_await resting;
      EXPECT_TRUE(rested.ok());
      ++total;
      --inside;
    }
    co_return kOk;
  }

  void run(int tasks, int rounds) {
    auto ring = KernelRing::create({});
    ASSERT_TRUE(ring) << ring.error().text;
    std::vector<std::unique_ptr<TestTag>> tags;
    std::vector<std::unique_ptr<Task>> running;
    for (int i = 0; i < tasks; ++i) {
      tags.push_back(std::make_unique<TestTag>(**ring));
      Request& request = tags.back()->make(Op::flush, static_cast<uint64_t>(i), uint64_t{100});
      running.push_back(std::make_unique<Task>(count(request, rounds)));
    }
    for (const auto& task : running) {
      while (!task->finished()) (*ring)->run_once(true);
    }
  }
};

TEST(RangeLockThreads, HandOverAcrossRings) {
  Counting counting;
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { counting.run(3, 50); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counting.total, 3 * 3 * 50);
}

}  // namespace
}  // namespace sluice::test
