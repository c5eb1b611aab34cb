// ExternalCompletion: work that ends on other threads is counted and awaited.
#include "ring/external_completion.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <deque>
#include <memory>
#include <thread>

#include "ring/sockets.hpp"
#include "ring/timeout.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// A library with callbacks, a target on it, and the coroutines of one ring.
class Client {
 public:
  explicit Client(Ring& ring) : ring_(ring), count_(ring) {}

  ExternalCount& count() { return count_; }
  ExternalCompletion& pending() { return *pending_; }
  int64_t result = 0;
  bool drained = false;

  Task request(Request&) {
    ExternalCompletion external(count_);
    pending_ = &external;
    external.begin();
    const Status status = co_await external;
    result = external.result();
    co_return status;
  }
  Task limited(Request&, std::chrono::nanoseconds duration) {
    Timeout timeout(ring_, duration);
    ExternalCompletion external(count_);
    pending_ = &external;
    external.begin();
    auto limit = timeout.limit(external);
    const Status status = co_await limit;
    EXPECT_TRUE(timeout.expired());
    co_return status;
  }
  // Completes as after a library's refusal: inside the coroutine, on its own thread.
  Task refused(Request&) {
    ExternalCompletion external(count_);
    external.begin();
    external.complete(-ENOMEM);
    const Status status = co_await external;
    co_return status;
  }
  Task detach(Request&) {
    auto wait = count_.drained();
    co_await wait;
    drained = true;
    co_return kOk;
  }

 private:
  Ring& ring_;
  ExternalCount count_;
  ExternalCompletion* pending_ = nullptr;
};

class ExternalCompletionTest : public testing::Test {
 protected:
  Request& make() {
    tags_.push_back(std::make_unique<TestTag>(ring_));
    return tags_.back()->make(Op::flush, 0, uint64_t{0});
  }

  ManualRing ring_;
  std::deque<std::unique_ptr<TestTag>> tags_;
  Client client_{ring_};
};

TEST_F(ExternalCompletionTest, GivesTheResultOfTheOtherThread) {
  const Task task = client_.request(make());
  ring_.settle();
  EXPECT_FALSE(task.finished());
  EXPECT_EQ(client_.count().under_way(), 1U);
  std::thread other([&] { client_.pending().complete(4711); });
  other.join();
  EXPECT_FALSE(task.finished()) << "resumed by its own ring alone";
  ring_.settle();
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
  EXPECT_EQ(client_.result, 4711);
  EXPECT_EQ(client_.count().under_way(), 0U);
}

TEST_F(ExternalCompletionTest, GivesItsErrno) {
  const Task task = client_.request(make());
  client_.pending().complete(-ESTALE);
  ring_.settle();
  EXPECT_EQ(task.status().error(), ESTALE);
}

TEST_F(ExternalCompletionTest, MayEndBeforeItIsAwaited) {
  const Task task = client_.refused(make());
  ring_.settle();
  EXPECT_EQ(task.status().error(), ENOMEM);
}

TEST_F(ExternalCompletionTest, ADetachAwaitsTheLast) {
  const Task first = client_.request(make());
  ExternalCompletion& one = client_.pending();
  const Task second = client_.request(make());
  ExternalCompletion& other = client_.pending();
  const Task detach = client_.detach(make());
  other.complete(0);
  ring_.settle();
  EXPECT_TRUE(second.finished());
  EXPECT_FALSE(client_.drained);
  one.complete(0);
  ring_.settle();
  EXPECT_TRUE(first.finished());
  EXPECT_TRUE(client_.drained);
  EXPECT_TRUE(detach.finished());
}

TEST_F(ExternalCompletionTest, WithNothingUnderWayADetachGoesOn) {
  const Task detach = client_.detach(make());
  EXPECT_TRUE(detach.finished());
}

TEST_F(ExternalCompletionTest, ATimeoutWaitsForTheCallback) {
  const Task task = client_.limited(make(), hours(1));
  ring_.settle();
  ring_.complete(0, -ETIME);
  EXPECT_FALSE(task.finished()) << "the library still has the pages";
  client_.pending().complete(512);
  ring_.settle();
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok()) << "it was done all the same";
}

TEST_F(ExternalCompletionTest, ATimeoutInTheMeantimeIsNoExcuseNotToWait) {
  const Task task = client_.limited(make(), hours(1));
  ring_.settle();
  ring_.complete(0, -ETIME);
  client_.pending().complete(-EIO);
  ring_.settle();
  EXPECT_EQ(task.status().error(), EIO);
}

// --- On a kernel's ring.

using ExternalOnKernelRing = OnKernelRing;

TEST_F(ExternalOnKernelRing, ARunDoesNotEndWhileACallbackIsToCome) {
  TestTag tag(ring());
  Client client(ring());
  const Task task = client.request(tag.make(Op::flush, 0, uint64_t{0}));
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(20));
    client.pending().complete(0);
  });
  ring().stop();
  ring().run();
  EXPECT_TRUE(task.finished());
  other.join();
}

// Repeatedly destroys the ring as soon as its last callback has been seen: no thread may use it
// afterwards.
TEST(ExternalThreads, TheRingMayEndWithTheLastOne) {
  for (int round = 0; round < 100; ++round) {
    auto ring = KernelRing::create({.entries = 4});
    if (!ring) GTEST_SKIP() << ring.error().text;
    std::thread other;
    {
      TestTag tag(**ring);
      Client client(**ring);
      const Task task = client.request(tag.make(Op::flush, 0, uint64_t{0}));
      other = std::thread([&] { client.pending().complete(0); });
      (*ring)->stop();
      (*ring)->run();
      EXPECT_TRUE(task.finished());
    }
    ring->reset();
    other.join();
  }
}

// Many threads complete the waits of many coroutines, each of which waits again and again.
struct Storm {
  explicit Storm(Ring& ring) : count(ring) {}

  Task request(Request&, int rounds) {
    for (int i = 0; i < rounds; ++i) {
      ExternalCompletion external(count);
      external.begin();
      submitted[static_cast<size_t>(i) % submitted.size()].store(&external);
      const Status status = co_await external;
      EXPECT_TRUE(status.ok());
      EXPECT_EQ(external.result(), i % 2);
      ++done;
    }
    co_return kOk;
  }

  ExternalCount count;
  std::array<std::atomic<ExternalCompletion*>, 2> submitted{};
  int done = 0;
};

TEST_F(ExternalOnKernelRing, EveryCallbackIsSeen) {
  constexpr int kRounds = 400;
  TestTag tag(ring());
  Storm storm(ring());
  std::array<std::thread, 2> threads;
  for (size_t number = 0; number < threads.size(); ++number) {
    threads[number] = std::thread([&, number] {
      for (int left = kRounds / 2; left != 0;) {
        ExternalCompletion* const external = storm.submitted[number].exchange(nullptr);
        if (external == nullptr) {
          std::this_thread::yield();
          continue;
        }
        external->complete(static_cast<int64_t>(number));
        --left;
      }
    });
  }
  const Task task = storm.request(tag.make(Op::flush, 0, uint64_t{0}), kRounds);
  ring().stop();
  ring().run();
  EXPECT_EQ(storm.done, kRounds);
  for (std::thread& thread : threads) thread.join();
}

// A library that reports by an eventfd: the ring's own thread fetches the results. The descriptor
// may be readable without a result.
struct Reporting {
  explicit Reporting(Ring& ring) : count(ring) {}

  Task watch(Request& request, int eventfd) {
    while (!stop) {
      auto polling = sockets::poll(*request.ring, {.number = eventfd}, POLLIN);
      const int32_t events = co_await polling;
      EXPECT_EQ(events, POLLIN);
      uint64_t value = 0;
      ++wakes;
      if (read(eventfd, &value, sizeof(value)) < 0) {
        EXPECT_EQ(errno, EAGAIN);
        continue;
      }
      if (ExternalCompletion* const ended = reported.exchange(nullptr)) ended->complete(7);
    }
    co_return kOk;
  }
  Task request(Request&) {
    ExternalCompletion external(count);
    external.begin();
    pending = &external;
    const Status status = co_await external;
    EXPECT_EQ(external.result(), 7);
    stop = true;
    co_return status;
  }

  ExternalCount count;
  ExternalCompletion* pending = nullptr;
  std::atomic<ExternalCompletion*> reported = nullptr;
  int wakes = 0;
  bool stop = false;
};

TEST_F(ExternalOnKernelRing, AnEventfdReportsWhatHasEnded) {
  const Descriptor events = opened(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const auto wake = [&] {
    const uint64_t one = 1;
    EXPECT_EQ(write(events.number(), &one, sizeof(one)), ssize_t{sizeof(one)});
  };
  TestTag watching(ring());
  TestTag requesting(ring());
  Reporting library(ring());
  const Task watch = library.watch(watching.make(Op::flush, 0, uint64_t{0}), events.number());
  const Task task = library.request(requesting.make(Op::flush, 0, uint64_t{0}));
  wake();
  while (library.wakes == 0) ring().run_once(true);
  EXPECT_FALSE(task.finished()) << "woken for nothing";
  std::thread other([&] {
    library.reported = library.pending;
    wake();
  });
  while (!task.finished()) ring().run_once(true);
  other.join();
  wake();
  while (!watch.finished()) ring().run_once(true);
}

}  // namespace
}  // namespace sluice::test
