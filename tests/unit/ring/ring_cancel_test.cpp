// Cancelling an operation: its result becomes ECANCELED, unless it is done first.
#include <gtest/gtest.h>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class RingCancelTest : public testing::Test {
 protected:
  Started receive(ManualRing& ring) { return {ring, lent_.loan.view(), recv_from({.number = 5})}; }

  Bytes memory_ = repeated(4096, 0);
  Lent lent_{Direction::destination, memory_};
  ManualRing ring_;
};

TEST_F(RingCancelTest, NamesTheOperationToTheKernel) {
  Started receiving = receive(ring_);
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 2U);
  EXPECT_EQ(ring_.sqe(1).opcode, IORING_OP_ASYNC_CANCEL);
  EXPECT_EQ(ring_.sqe(1).addr, ring_.sqe(0).user_data);
  EXPECT_FALSE(receiving.finished()) << "before the kernel has let go";
  ring_.perform(1);
  EXPECT_EQ(receiving.error(), ECANCELED);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(RingCancelTest, WhatIsDoneFirstSucceeds) {
  Started receiving = receive(ring_);
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ring_.complete(0, 4096);
  EXPECT_EQ(receiving.error(), 0);
  ring_.complete(0, -ENOENT);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(RingCancelTest, TheReferenceStaysUntilTheKernelHasLetGo) {
  Started receiving(ring_, lent_.loan.view(), [](Request& request) {
    return request.ring->recv({.number = 5}, std::move(request.data));
  });
  lent_.close();
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ring_.complete(1, 0);  // the cancellation has succeeded; the operation itself has not ended yet
  EXPECT_EQ(lent_.returned_count(), 0);
  ring_.complete(0, -ECANCELED);
  EXPECT_EQ(lent_.returned_count(), 1);
}

// When the kernel cancels a parked receive that has some of its bytes, it reports those bytes.
TEST_F(RingCancelTest, AShortResultAfterACancellationIsNotContinued) {
  Started receiving = receive(ring_);
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ring_.complete(0, 100);
  EXPECT_EQ(receiving.error(), ECANCELED);
  EXPECT_EQ(receiving.moved_bytes(), 100U);
  ring_.complete(0, 0);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(RingCancelTest, AnInterruptionAfterACancellationIsNotRepeated) {
  Started receiving = receive(ring_);
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ring_.complete(0, -EINTR);
  EXPECT_EQ(receiving.error(), ECANCELED);
  ring_.complete(0, -ENOENT);
}

TEST_F(RingCancelTest, AnErrorAfterACancellationIsReported) {
  Started receiving = receive(ring_);
  ring_.settle();
  receiving.cancel();
  ring_.settle();
  ring_.complete(0, -EIO);
  EXPECT_EQ(receiving.error(), EIO);
  ring_.complete(0, -ENOENT);
}

TEST_F(RingCancelTest, WhatStillWaitsForASubmissionIsCancelledAtOnce) {
  ManualRing narrow(1, 8);
  const Started first = receive(narrow);
  Started second = receive(narrow);
  const Started third = receive(narrow);
  second.cancel();
  narrow.settle();
  EXPECT_EQ(narrow.pending(), 2U) << "the kernel has nothing to cancel";
  EXPECT_EQ(second.error(), ECANCELED);
  narrow.complete(0, 4096);
  narrow.complete(0, 4096);
  EXPECT_EQ(first.error(), 0);
  EXPECT_EQ(third.error(), 0);
}

TEST_F(RingCancelTest, TheLastOneThatWaitsLeavesTheLine) {
  ManualRing narrow(8, 1);
  const Started first = receive(narrow);
  Started second = receive(narrow);
  narrow.settle();
  second.cancel();
  const Started third = receive(narrow);
  narrow.settle();
  EXPECT_EQ(second.error(), ECANCELED);
  narrow.complete(0, 4096);
  ASSERT_EQ(narrow.pending(), 1U);
  narrow.complete(0, 4096);
  EXPECT_EQ(third.error(), 0);
}

// The limit allows no more operations in flight until the peer answers, which it never does.
TEST_F(RingCancelTest, ACancellationDoesNotWaitForWhatItCancels) {
  ManualRing narrow(1, 2);
  Started first = receive(narrow);
  Started second = receive(narrow);
  const Started third = receive(narrow);
  narrow.settle();
  first.cancel();
  second.cancel();
  narrow.settle();
  ASSERT_EQ(narrow.pending(), 4U);
  narrow.perform(2);
  narrow.perform(1);
  EXPECT_EQ(first.error(), ECANCELED);
  EXPECT_EQ(second.error(), ECANCELED);
  ASSERT_EQ(narrow.pending(), 1U);
  narrow.complete(0, 4096);
}

TEST_F(RingCancelTest, ASleepCanBeCancelled) {
  Started sleeping(ring_,
                   [](Request& request) { return request.ring->sleep(std::chrono::hours(1)); });
  ring_.settle();
  sleeping.cancel();
  ring_.settle();
  ring_.perform(1);
  EXPECT_EQ(sleeping.error(), ECANCELED);
}

TEST_F(RingCancelTest, CancellingASendKeepsThePagesUntilTheNotification) {
  Lent source(Direction::source, memory_);
  Started sending(ring_, source.loan.view(), send_zc_to({.number = 5}));
  ring_.settle();
  sending.cancel();
  ring_.settle();
  ring_.complete(0, 100, IORING_CQE_F_MORE);
  EXPECT_FALSE(sending.finished());
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(sending.error(), ECANCELED);
  ring_.complete(0, 0);
}

}  // namespace
}  // namespace sluice::test
