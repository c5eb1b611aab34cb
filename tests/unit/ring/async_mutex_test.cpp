// AsyncMutex: one holder at a time, in order of arrival, each resumed by its own ring.
#include "ring/async_mutex.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/ring/on_rings.hpp"

namespace sluice::test {
namespace {

using Numbers = std::vector<int>;

// Holds the mutex for as long as an operation on file `number` takes.
class Holder {
 public:
  Task hold(Request& request, AsyncMutex& mutex, int number) {
    AsyncMutex::Hold hold(mutex, *request.ring);
    co_await hold;
    auto working = request.ring->sync({.number = number}, true);
    co_return co_await working;
  }
};

class AsyncMutexTest : public testing::Test {
 protected:
  void start(ManualRing& ring) {
    const int number = static_cast<int>(tasks_.size());
    tags_.push_back(std::make_unique<TestTag>(ring));
    Request& request = tags_.back()->make(Op::flush, 0, uint64_t{0});
    tasks_.push_back(std::make_unique<Task>(holder_.hold(request, mutex_, number)));
  }
  static Numbers holders(const ManualRing& ring) {
    Numbers numbers;
    for (size_t i = 0; i < ring.pending(); ++i) numbers.push_back(ring.sqe(i).fd);
    return numbers;
  }

  AsyncMutex mutex_;
  ManualRing ring_;
  ManualRing other_;
  Holder holder_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  std::vector<std::unique_ptr<Task>> tasks_;
};

TEST_F(AsyncMutexTest, WhoComesFirstGoesOnAtOnce) {
  start(ring_);
  EXPECT_TRUE(ring_.ready().empty());
  ring_.perform_all();
  EXPECT_TRUE(tasks_[0]->finished());
}

TEST_F(AsyncMutexTest, FirstComeFirstServed) {
  for (int i = 0; i < 4; ++i) start(ring_);
  ring_.settle();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(holders(ring_), Numbers{i});
    ring_.complete(0, 0);
  }
  EXPECT_EQ(holders(ring_), Numbers{});
}

// Between the release and the resumption of the next waiter, no other coroutine gets the mutex.
TEST_F(AsyncMutexTest, ItIsHandedOver) {
  start(ring_);
  start(other_);
  ring_.settle();
  ring_.complete(0, 0);
  start(ring_);
  ring_.settle();
  EXPECT_EQ(holders(ring_), Numbers{});
  EXPECT_EQ(holders(other_), Numbers{}) << "its own ring has not run yet";
  other_.settle();
  EXPECT_EQ(holders(other_), Numbers{1});
  other_.complete(0, 0);
  ring_.settle();
  EXPECT_EQ(holders(ring_), Numbers{2});
  ring_.complete(0, 0);
}

// Threads that count, each with its own ring.
struct Counting {
  AsyncMutex mutex;
  int inside = 0;  // guarded by the mutex alone
  int total = 0;

  Task count(Request& request, int rounds) {
    const std::thread::id own = std::this_thread::get_id();
    for (int i = 0; i < rounds; ++i) {
      AsyncMutex::Hold hold(mutex, *request.ring);
      co_await hold;
      EXPECT_EQ(std::this_thread::get_id(), own);
      EXPECT_EQ(++inside, 1);
      auto resting = request.ring->sleep(std::chrono::nanoseconds(1000));
      const Status rested = co_await resting;
      EXPECT_TRUE(rested.ok());
      ++total;
      --inside;
    }
    co_return kOk;
  }
};

TEST(AsyncMutexThreads, HandOverAcrossRings) {
  Counting counting;
  on_rings(3, 3, [&](Request& request, int) { return counting.count(request, 100); });
  EXPECT_EQ(counting.total, 3 * 3 * 100);
}

}  // namespace
}  // namespace sluice::test
