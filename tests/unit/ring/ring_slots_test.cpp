// The slots of the buffer table: bounded, and acquired in order (P-18).
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <set>

#include "core/task.hpp"
#include "ring/ring.hpp"
#include "support/manual_ring.hpp"

namespace sluice::test {
namespace {

// Acquires a slot and keeps it.
class Holder {
 public:
  Task run(Request& request) {
    auto acquiring = request.ring->acquire_slot();
    slot = co_await acquiring;
    co_return kOk;
  }
  int slot = Loan::kNoSlot;
};

class RingSlotsTest : public testing::Test {
 protected:
  static constexpr uint32_t kSlots = 4;

  RingSlotsTest() {
    request_.ring = &ring_;
    request_.arena = &arena_;
    request_.ready = &ring_.ready();
  }

  Holder& acquire() {
    Holder& holder = holders_.emplace_back();
    tasks_.push_back(holder.run(request_));
    return holder;
  }
  void release_all() {
    for (Holder& holder : holders_) {
      if (holder.slot != Loan::kNoSlot)
        ring_.release_slot(std::exchange(holder.slot, Loan::kNoSlot));
    }
    ring_.settle();
  }

  ManualRing ring_{16, 16, kSlots};
  Arena arena_{1 << 20};
  Request request_;
  std::deque<Holder> holders_;
  std::deque<Task> tasks_;
};

TEST_F(RingSlotsTest, AreAllFreeAtFirst) { EXPECT_EQ(ring_.free_slots(), kSlots); }

TEST_F(RingSlotsTest, AFreeOneIsGivenAtOnce) {
  EXPECT_EQ(acquire().slot, 0);
  EXPECT_EQ(ring_.free_slots(), kSlots - 1);
}

TEST_F(RingSlotsTest, EachIsGivenOnce) {
  std::set<int> slots;
  for (uint32_t i = 0; i < kSlots; ++i) slots.insert(acquire().slot);
  EXPECT_EQ(slots, (std::set{0, 1, 2, 3}));
  EXPECT_EQ(ring_.free_slots(), 0U);
}

TEST_F(RingSlotsTest, AReleasedOneIsGivenAgain) {
  acquire();
  ring_.release_slot(0);
  EXPECT_EQ(acquire().slot, 0);
}

TEST_F(RingSlotsTest, WithoutAFreeOneACallerWaits) {
  for (uint32_t i = 0; i < kSlots; ++i) acquire();
  Holder& waiter = acquire();
  EXPECT_EQ(waiter.slot, Loan::kNoSlot);
  ring_.release_slot(2);
  EXPECT_EQ(waiter.slot, Loan::kNoSlot) << "resumed by the loop only";
  ring_.settle();
  EXPECT_EQ(waiter.slot, 2);
}

TEST_F(RingSlotsTest, WaitersAreServedInTheirOrder) {
  for (uint32_t i = 0; i < kSlots; ++i) acquire();
  Holder& first = acquire();
  Holder& second = acquire();
  Holder& third = acquire();
  ring_.release_slot(1);
  ring_.settle();
  EXPECT_EQ(first.slot, 1);
  EXPECT_EQ(second.slot, Loan::kNoSlot);
  ring_.release_slot(3);
  ring_.release_slot(0);
  ring_.settle();
  EXPECT_EQ(second.slot, 3);
  EXPECT_EQ(third.slot, 0);
}

TEST_F(RingSlotsTest, WhoComesLaterDoesNotOvertakeAWaiter) {
  for (uint32_t i = 0; i < kSlots; ++i) acquire();
  Holder& waiter = acquire();
  ring_.release_slot(1);
  Holder& late = acquire();  // before the waiter was resumed
  ring_.settle();
  EXPECT_EQ(waiter.slot, 1);
  EXPECT_EQ(late.slot, Loan::kNoSlot);
  ring_.release_slot(2);
  ring_.settle();
  EXPECT_EQ(late.slot, 2);
}

TEST_F(RingSlotsTest, AfterAllWaitersItIsFreeAgain) {
  for (uint32_t i = 0; i < 3 * kSlots; ++i) acquire();
  for (int round = 0; round < 3; ++round) release_all();
  EXPECT_TRUE(std::ranges::all_of(tasks_, [](const Task& task) { return task.finished(); }));
  EXPECT_EQ(ring_.free_slots(), kSlots);
}

TEST_F(RingSlotsTest, ATableWithoutSlotsHasNone) {
  const ManualRing ring(16, 16, 0);
  EXPECT_EQ(ring.free_slots(), 0U);
}

}  // namespace
}  // namespace sluice::test
