// Event: when it is set, each waiter continues on its own ring.
#include "ring/event.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/ring/on_rings.hpp"

namespace sluice::test {
namespace {

class EventTest : public testing::Test {
 protected:
  Task wait(Request& request, int number) {
    Event::Wait wait(event_, *request.ring);
    co_await wait;
    order_.push_back(number);
    co_return kOk;
  }
  void start(ManualRing& ring) {
    tags_.push_back(std::make_unique<TestTag>(ring));
    Request& request = tags_.back()->make(Op::flush, 0, uint64_t{0});
    tasks_.push_back(std::make_unique<Task>(wait(request, static_cast<int>(tasks_.size()))));
  }

  Event event_;
  ManualRing ring_;
  ManualRing other_;
  std::vector<int> order_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  std::vector<std::unique_ptr<Task>> tasks_;
};

using Numbers = std::vector<int>;

TEST_F(EventTest, NobodyWaitsForWhatHasHappened) {
  event_.set(ring_);
  start(ring_);
  EXPECT_EQ(order_, Numbers{0});
}

TEST_F(EventTest, AllGoOnInOrderAndNotInsideTheCaller) {
  for (int i = 0; i < 3; ++i) start(ring_);
  ring_.settle();
  EXPECT_EQ(order_, Numbers{});
  event_.set(ring_);
  EXPECT_EQ(order_, Numbers{});
  ring_.settle();
  EXPECT_EQ(order_, (Numbers{0, 1, 2}));
}

TEST_F(EventTest, EachIsResumedByItsOwnRing) {
  start(ring_);
  start(other_);
  event_.set(ring_);
  ring_.settle();
  EXPECT_EQ(order_, Numbers{0});
  other_.settle();
  EXPECT_EQ(order_, (Numbers{0, 1}));
}

TEST_F(EventTest, AResetTakesBackNobody) {
  start(ring_);
  event_.set(ring_);
  event_.reset();
  start(ring_);
  ring_.settle();
  EXPECT_EQ(order_, Numbers{0});
  event_.set(ring_);
  ring_.settle();
  EXPECT_EQ(order_, (Numbers{0, 1}));
}

// Threads that pass a turn around: each waits for its own event, then sets the event of the next. A
// lost wake-up hangs. A ring may end as soon as its own turns are over.
struct Passing {
  static constexpr int kRounds = 300;

  Task play(Request& request, int thread) {
    const std::thread::id own = std::this_thread::get_id();
    const auto self = static_cast<size_t>(thread);
    for (int i = 0; i < kRounds; ++i) {
      Event::Wait wait(turns[self], *request.ring);
      co_await wait;
      EXPECT_EQ(std::this_thread::get_id(), own);
      turns[self].reset();
      EXPECT_EQ(static_cast<size_t>(total++) % turns.size(), self);
      turns[(self + 1) % turns.size()].set(*request.ring);
    }
    co_return kOk;
  }

  std::array<Event, 3> turns;
  int total = 0;  // used only by the thread that has the turn
};

TEST(EventThreads, ATurnIsPassedRound) {
  Passing passing;
  ManualRing ring;
  passing.turns[0].set(ring);
  on_rings(3, 1, [&](Request& request, int thread) { return passing.play(request, thread); });
  EXPECT_EQ(passing.total, 3 * Passing::kRounds);
}

// Many coroutines on each ring wait for one event that is set once.
struct Starting {
  Task wait(Request& request) {
    if (arrived.fetch_add(1) == kAll - 1) go.set(*request.ring);
    Event::Wait wait(go, *request.ring);
    co_await wait;
    ++gone;
    co_return kOk;
  }

  static constexpr int kAll = 3 * 20;
  Event go;
  std::atomic<int> arrived = 0;
  std::atomic<int> gone = 0;
};

TEST(EventThreads, OneSignalReachesAllRings) {
  for (int i = 0; i < 20; ++i) {
    Starting starting;
    on_rings(3, 20, [&](Request& request, int) { return starting.wait(request); });
    EXPECT_EQ(starting.gone, Starting::kAll);
  }
}

}  // namespace
}  // namespace sluice::test
