#include "core/task.hpp"

#include <gtest/gtest.h>

#include "unit/core/allocations.hpp"
#include "unit/core/steps.hpp"

namespace sluice::test {
namespace {

// Only waits for its child.
class Parent {
 public:
  Task submit(Request& request) {
    Task task = child.submit(request);
    const Status status = co_await task;
    resumed = true;
    co_return status;
  }

  Step child;
  bool resumed = false;
};

// Serves `count` children one after the other.
class Sequence {
 public:
  Task submit(Request& request) {
    for (int i = 0; i < count; ++i) {
      Step step;
      step.gate.open(*request.ready);
      Task task = step.submit(request);
      const Status status = co_await task;
      if (!status.ok()) co_return status;
    }
    co_return kOk;
  }

  int count = 0;
};

// Calls itself, so that many frames are alive at a time.
class Recursion {
 public:
  Task submit(Request& request) {
    if (depth-- == 0) co_return Status::from_errno(EXDEV);
    Task below = submit(request);
    const Status status = co_await below;
    co_return status;
  }

  int depth = 0;
};

class Forward {
 public:
  Task submit(Request& request) { return step.submit(request); }
  Step step;
};

TEST(Task, MadeOfAStatusItIsFinished) {
  const Task task = Status::from_errno(EROFS);
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EROFS);
}

TEST(Task, StartsAtOnce) {
  StepTag tag;
  Step step;
  const Task task = step.submit(tag.request);
  EXPECT_EQ(step.started, 1);
  EXPECT_FALSE(task.finished());
  step.gate.open(tag.ready);
  tag.ready.run();
}

TEST(Task, WhatNeedNotWaitEndsAtOnce) {
  StepTag tag;
  Step step;
  step.gate.open(tag.ready, Status::from_errno(ENOSPC));
  const Task task = step.submit(tag.request);
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), ENOSPC);
}

TEST(Task, EndsWithTheStatusItReturns) {
  StepTag tag;
  Step step;
  const Task task = step.submit(tag.request);
  step.gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST(Task, AParentGetsItsChildsStatus) {
  StepTag tag;
  Parent parent;
  const Task task = parent.submit(tag.request);
  parent.child.gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST(Task, AParentOfAFinishedChildDoesNotWait) {
  StepTag tag;
  Parent parent;
  parent.child.gate.open(tag.ready);
  const Task task = parent.submit(tag.request);
  EXPECT_TRUE(task.finished());
  EXPECT_TRUE(tag.ready.empty());
}

TEST(Task, AParentIsResumedByTheListAndNotFromInsideItsChild) {
  StepTag tag;
  ReadyList inner;  // only the child is resumed from here
  Parent parent;
  const Task task = parent.submit(tag.request);
  parent.child.gate.open(inner);
  inner.run();
  EXPECT_EQ(parent.child.ended, 1);
  EXPECT_FALSE(parent.resumed);
  EXPECT_FALSE(tag.ready.empty());
  tag.ready.run();
  EXPECT_TRUE(parent.resumed);
}

TEST(Task, ALayerThatForwardsAddsNoFrame) {
  StepTag direct;
  Step step;
  const Task alone = step.submit(direct.request);
  StepTag through;
  Forward forward;
  const Task forwarded = forward.submit(through.request);
  EXPECT_EQ(through.arena.used_bytes(), direct.arena.used_bytes());
  step.gate.open(direct.ready);
  forward.step.gate.open(through.ready);
  direct.ready.run();
  through.ready.run();
  EXPECT_TRUE(forwarded.finished());
}

TEST(Task, ItsFrameIsInTheArenaOfItsRequest) {
  StepTag tag;
  const uint64_t before = allocations();
  {
    Parent parent;
    const Task task = parent.submit(tag.request);
    EXPECT_GT(tag.arena.used_bytes(), 0U);
    parent.child.gate.open(tag.ready);
    tag.ready.run();
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST(Task, ItsFrameGoesBackToTheArena) {
  StepTag tag;
  {
    Parent parent;
    const Task task = parent.submit(tag.request);
    parent.child.gate.open(tag.ready);
    tag.ready.run();
  }
  EXPECT_EQ(tag.arena.used_bytes(), 0U);
}

TEST(Task, ChildrenOneAfterTheOtherUseTheSameBytes) {
  StepTag tag;
  Sequence sequence;
  sequence.count = 1000;
  const Task task = sequence.submit(tag.request);
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST(Task, FramesThatDoNotFitAreCountedAndWork) {
  StepTag tag;
  Recursion recursion;
  recursion.depth = 200;
  {
    const Task task = recursion.submit(tag.request);
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(task.status().error(), EXDEV);
  }
  EXPECT_GT(tag.arena.overflows(), 0U);
  tag.arena.reset();
  const uint64_t overflows = tag.arena.overflows();
  recursion.depth = 200;
  EXPECT_EQ(recursion.submit(tag.request).status().error(), EXDEV);
  EXPECT_EQ(tag.arena.overflows(), overflows);
}

TEST(Task, MovedItIsStillTheSame) {
  StepTag tag;
  Step step;
  Task task = step.submit(tag.request);
  const Task moved = std::move(task);
  EXPECT_FALSE(moved.finished());
  step.gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  EXPECT_EQ(moved.status().error(), EIO);
}

TEST(TaskDeathTest, ATaskMustNotGoBeforeItHasEnded) {
  EXPECT_DEATH(
      {
        StepTag tag;
        Step step;
        (void)step.submit(tag.request);
      },
      "a parent waits for its children");
}

TEST(Status, SuccessHasNoErrno) {
  EXPECT_TRUE(kOk.ok());
  EXPECT_EQ(kOk.error(), 0);
  EXPECT_EQ(Status(), kOk);
}

TEST(Status, ANegativeResultIsAnError) {
  EXPECT_EQ(Status::from_result(-EIO).error(), EIO);
  EXPECT_EQ(Status::from_result(-EIO), Status::from_errno(EIO));
}

TEST(Status, APositiveResultIsSuccess) {
  EXPECT_TRUE(Status::from_result(0).ok());
  EXPECT_TRUE(Status::from_result(int64_t{1} << 40).ok());
}

}  // namespace
}  // namespace sluice::test
