// Timeout: an awaited operation ends in time, or keeps its result.
#include "ring/timeout.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "ring/linked_command.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/timeout_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;

TEST_F(TimeoutTest, WhatEndsInTimeKeepsItsResult) {
  const Timed one(ring_, hours(1), receiving());
  const Timed other(ring_, hours(1), receiving());
  ring_.settle();
  EXPECT_EQ(ring_.pending(), 3U) << "two receives, and one timer for both";
  ring_.complete(find(IORING_OP_RECV), 4096);
  ring_.complete(find(IORING_OP_RECV), -EIO);
  EXPECT_EQ(one.error(), 0);
  EXPECT_EQ(other.error(), EIO);
}

TEST_F(TimeoutTest, WhatDoesNotIsCancelledAndHasEndedBeforeItIsReported) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  go_off();
  ASSERT_NE(find(IORING_OP_ASYNC_CANCEL), npos);
  const size_t at = find(IORING_OP_RECV);
  EXPECT_EQ(ring_.sqe(find(IORING_OP_ASYNC_CANCEL)).addr, ring_.sqe(at).user_data);
  ring_.complete(find(IORING_OP_ASYNC_CANCEL), 0);
  EXPECT_FALSE(timed.finished()) << "the kernel still has the pages";
  ring_.complete(at, -ECANCELED);
  EXPECT_EQ(timed.error(), ETIMEDOUT);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(TimeoutTest, WhatIsDoneWhileItIsBeingCancelledKeepsItsResult) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  go_off();
  ring_.complete(find(IORING_OP_RECV), 4096);
  EXPECT_EQ(timed.error(), 0);
  ring_.complete(find(IORING_OP_ASYNC_CANCEL), -ENOENT);
}

TEST_F(TimeoutTest, WhatFailsWhileItIsBeingCancelledKeepsItsError) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  go_off();
  ring_.complete(find(IORING_OP_RECV), -EIO);
  EXPECT_EQ(timed.error(), EIO);
  ring_.complete(find(IORING_OP_ASYNC_CANCEL), -ENOENT);
}

TEST_F(TimeoutTest, TheCompletionMayComeTogetherWithTheTimers) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  ring_.finish(find(IORING_OP_RECV), 4096);
  go_off();
  EXPECT_EQ(timed.error(), 0);
  ring_.perform_all();
}

TEST_F(TimeoutTest, ItsContinuationsHaveNoTimeOfTheirOwn) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  ring_.complete(find(IORING_OP_RECV), 100);
  go_off();
  ring_.complete(find(IORING_OP_RECV), 100);
  EXPECT_EQ(timed.error(), ETIMEDOUT) << "it does not go on after a short transfer";
  EXPECT_EQ(timed.moved_bytes(), 200U);
  ring_.perform_all();
}

TEST_F(TimeoutTest, ItHoldsForOneOperationAfterTheOther) {
  const Timed timed(ring_, hours(1), {syncing(), receiving(), syncing()});
  ring_.settle();
  ring_.complete(find(IORING_OP_FSYNC), 0);
  ASSERT_NE(find(IORING_OP_RECV), npos);
  go_off();
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_EQ(timed.error(), ETIMEDOUT);
}

TEST_F(TimeoutTest, WhatWouldBeginAfterItDoesNotBegin) {
  const Timed timed(ring_, hours(1), {receiving(), syncing()});
  ring_.settle();
  go_off();
  ring_.complete(find(IORING_OP_RECV), 4096);
  EXPECT_EQ(timed.error(), ETIMEDOUT);
  EXPECT_EQ(find(IORING_OP_FSYNC), npos);
  ring_.perform_all();
}

TEST_F(TimeoutTest, ACancellationByOthersIsNoTimeout) {
  Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  timed.cancel(ring_);
  ring_.settle();
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_EQ(timed.error(), ECANCELED);
}

TEST_F(TimeoutTest, ASendKeepsThePagesUntilTheNotification) {
  Lent source(Direction::source, memory_);
  const Timed timed(ring_, hours(1), [&](Request& request) {
    return request.ring->send_zc({.number = 5}, source.loan.view());
  });
  ring_.settle();
  go_off();
  ring_.complete(find(IORING_OP_SEND_ZC), -ECANCELED, IORING_CQE_F_MORE);
  EXPECT_FALSE(timed.finished());
  ring_.complete(find(IORING_OP_SEND_ZC), 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(timed.error(), ETIMEDOUT);
  ring_.perform_all();
}

struct LinkedAndLimited {
  Task recv(Request& request, View view, LinkedCommand& command) {
    Timeout timeout(*request.ring, hours(1));
    auto receiving = request.ring->recv({.number = 5}, std::move(view));
    receiving.then(&command);
    auto limited = timeout.limit(receiving);
    co_return co_await limited;
  }
};

TEST_F(TimeoutTest, ALinkedCommandIsNotDoneForWhatIsTooLate) {
  TestTag tag(ring_);
  LinkedCommand command;
  io_uring_sqe sqe{};
  io_uring_prep_nop(&sqe);
  command.offer(sqe);
  const Task task =
      LinkedAndLimited().recv(tag.make(Op::flush, 0, uint64_t{0}), std::move(view_), command);
  ring_.settle();
  EXPECT_TRUE(command.linked());
  go_off();
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), ETIMEDOUT);
  EXPECT_FALSE(command.done());
  EXPECT_FALSE(command.linked());
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(TimeoutTest, WhatStillWaitsForItsSubmissionEndsAtOnce) {
  ManualRing narrow(8, 2);
  const Timed first(narrow, hours(2), syncing());
  const Timed second(narrow, hours(1), receiving());
  narrow.settle();
  EXPECT_EQ(find(narrow, IORING_OP_RECV), npos);
  narrow.complete(find(narrow, IORING_OP_TIMEOUT), -ETIME);
  EXPECT_EQ(second.error(), ETIMEDOUT);
  EXPECT_EQ(first.error(), -1);
  narrow.complete(find(narrow, IORING_OP_FSYNC), 0);
}

// As many operations as may be in flight wait for a peer that is gone, and others wait for an SQE:
// the cancellations must overtake all of them.
TEST_F(TimeoutTest, AFullRingIsNoObstacle) {
  ManualRing narrow(1, 4);
  std::vector<std::unique_ptr<Timed>> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(std::make_unique<Timed>(narrow, hours(1) + nanoseconds(i), receiving()));
  }
  narrow.settle();
  EXPECT_TRUE(narrow.waiting());
  while (narrow.pending() != 0) {
    const size_t cancel = find(narrow, IORING_OP_ASYNC_CANCEL);
    if (cancel != npos) {
      narrow.perform(cancel);
    } else {
      narrow.complete(find(narrow, IORING_OP_TIMEOUT), -ETIME);
    }
  }
  for (const auto& timed : all) EXPECT_EQ(timed->error(), ETIMEDOUT);
}

TEST_F(TimeoutTest, ManyThatExpireTogetherAreCancelledOneAfterTheOther) {
  std::vector<std::unique_ptr<Timed>> all;
  for (int i = 0; i < 10; ++i) {
    all.push_back(std::make_unique<Timed>(ring_, nanoseconds(0), receiving()));
  }
  ring_.settle();
  go_off();
  size_t cancels = 0;
  for (size_t at = 0; (at = find(IORING_OP_ASYNC_CANCEL)) != npos; ++cancels) ring_.perform(at);
  EXPECT_EQ(cancels, 10U);
  for (const auto& timed : all) EXPECT_EQ(timed->error(), ETIMEDOUT);
}

TEST_F(TimeoutTest, WhatEndedBeforeItsTurnIsNotCancelled) {
  const Timed first(ring_, nanoseconds(0), receiving());
  const Timed second(ring_, nanoseconds(0), syncing());
  ring_.settle();
  go_off();
  ring_.complete(find(IORING_OP_FSYNC), 0);
  EXPECT_EQ(second.error(), 0);
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_EQ(first.error(), ETIMEDOUT);
  EXPECT_EQ(ring_.pending(), 0U) << "no cancellation of the second";
}

TEST_F(TimeoutTest, NothingIsAllocated) {
  uint64_t before = 0;
  for (int round = 0; round < 20; ++round) {
    if (round == 3) before = allocations();
    Timeout timeout(ring_, hours(1));
    auto operation = ring_.recv({.number = 5}, view_);
    auto limited = timeout.limit(operation);
    ASSERT_FALSE(limited.await_ready());
    limited.await_suspend(std::noop_coroutine());
    ring_.settle();
    go_off();
    ring_.complete(find(IORING_OP_RECV), -ECANCELED);
    ring_.complete(find(IORING_OP_ASYNC_CANCEL), -ENOENT);
    EXPECT_EQ(limited.await_resume().error(), ETIMEDOUT);
  }
  EXPECT_EQ(allocations(), before);
}

}  // namespace
}  // namespace sluice::test
