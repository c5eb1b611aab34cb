#include "core/gather.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "unit/core/allocations.hpp"
#include "unit/core/steps.hpp"

namespace sluice::test {
namespace {

// A tree: each child is a Fan of its own.
class Tree {
 public:
  Tree(size_t branches, size_t leaves) : fans(branches, Fan(leaves)) {}

  Task submit(Request& request) {
    Gather children(request, fans.size());
    for (Fan& fan : fans) children.add(fan.submit(request));
    const Status status = co_await children;
    co_return status;
  }

  std::vector<Fan> fans;
};

TEST(Gather, OfNothingIsSuccessAtOnce) {
  StepTag tag;
  Fan fan(0);
  const Task task = fan.submit(tag.request);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST(Gather, ARefusalDoesNotHideAFailure) {
  for (const int first : {ENOSPC, EIO}) {
    StepTag tag;
    Fan fan(2);
    const Task task = fan.submit(tag.request);
    fan.members[0].gate.open(tag.ready, Status::from_errno(first));
    fan.members[1].gate.open(tag.ready, Status::from_errno(first == EIO ? ENOSPC : EIO));
    tag.ready.run();
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(task.status().error(), EIO);
  }
}

TEST(Gather, StartsAllChildrenBeforeItWaits) {
  StepTag tag;
  Fan fan(3);
  const Task task = fan.submit(tag.request);
  for (Step& member : fan.members) {
    EXPECT_EQ(member.started, 1);
    member.gate.open(tag.ready);
  }
  tag.ready.run();
}

TEST(Gather, OfFinishedChildrenDoesNotWait) {
  StepTag tag;
  Fan fan(3);
  for (Step& member : fan.members) member.gate.open(tag.ready);
  const Task task = fan.submit(tag.request);
  EXPECT_TRUE(task.finished());
}

TEST(Gather, ReportsTheErrorOfAChildThatEndedAtOnce) {
  StepTag tag;
  Fan fan(2);
  fan.members[0].gate.open(tag.ready, Status::from_errno(EROFS));
  const Task task = fan.submit(tag.request);
  EXPECT_FALSE(task.finished());
  fan.members[1].gate.open(tag.ready);
  tag.ready.run();
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EROFS);
}

TEST(Gather, WaitsForAllEvenAfterAnError) {
  StepTag tag;
  Fan fan(3);
  const Task task = fan.submit(tag.request);
  fan.members[1].gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  EXPECT_FALSE(task.finished());
  fan.members[0].gate.open(tag.ready);
  tag.ready.run();
  EXPECT_FALSE(task.finished());
  fan.members[2].gate.open(tag.ready);
  tag.ready.run();
  EXPECT_TRUE(task.finished());
}

// Every order of four children; child i fails with errno 10 + i if bit i of `failing` is set.
TEST(Gather, TheFirstErrorWinsInEveryOrder) {
  std::array<size_t, 4> order{0, 1, 2, 3};
  do {
    for (uint32_t failing = 0; failing < 16; ++failing) {
      StepTag tag;
      Fan fan(4);
      const Task task = fan.submit(tag.request);
      int expected = 0;
      for (const size_t child : order) {
        EXPECT_FALSE(fan.ended);
        const int error = (failing >> child & 1) != 0 ? static_cast<int>(10 + child) : 0;
        if (expected == 0) expected = error;
        fan.members[child].gate.open(tag.ready, Status::from_errno(error));
        tag.ready.run();
      }
      ASSERT_TRUE(task.finished());
      ASSERT_EQ(task.status().error(), expected);
    }
  } while (std::ranges::next_permutation(order).found);
}

TEST(Gather, ChildrenThatEndTogetherResumeTheParentOnce) {
  StepTag tag;
  Fan fan(4);
  const Task task = fan.submit(tag.request);
  for (Step& member : fan.members) member.gate.open(tag.ready);
  tag.ready.run();
  EXPECT_TRUE(task.finished());
  EXPECT_TRUE(tag.ready.empty());
}

TEST(Gather, TakesFewerChildrenThanItHasRoomFor) {
  class Half {
   public:
    Task submit(Request& request) {
      Gather children(request, 10);
      children.add(step.submit(request));
      const Status status = co_await children;
      co_return status;
    }
    Step step;
  };
  StepTag tag;
  Half half;
  const Task task = half.submit(tag.request);
  half.step.gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  EXPECT_EQ(task.status().error(), EIO);
}

// Starts a child, does something else, and only then waits for the child.
class Busy {
 public:
  Task submit(Request& request) {
    Gather children(request, 1);
    children.add(child.submit(request));
    Task task = other.submit(request);
    const Status done = co_await task;
    if (!done.ok()) co_return done;
    const Status status = co_await children;
    co_return status;
  }
  Step child;
  Step other;
};

TEST(Gather, ChildrenMayEndBeforeTheParentWaitsForThem) {
  StepTag tag;
  Busy busy;
  const Task task = busy.submit(tag.request);
  busy.child.gate.open(tag.ready, Status::from_errno(EIO));
  tag.ready.run();
  EXPECT_FALSE(task.finished());
  busy.other.gate.open(tag.ready);
  tag.ready.run();
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST(Gather, ATreeOfThemEndsWithItsLastLeaf) {
  StepTag tag;
  Tree tree(3, 3);
  const Task task = tree.submit(tag.request);
  for (Fan& fan : tree.fans) {
    for (Step& leaf : fan.members) {
      EXPECT_FALSE(task.finished());
      leaf.gate.open(tag.ready);
      tag.ready.run();
    }
    EXPECT_TRUE(fan.ended);
  }
  EXPECT_TRUE(task.finished());
}

TEST(Gather, GivesAllOfItsMemoryBackToTheArena) {
  StepTag tag;
  Fan fan(4);
  {
    const Task task = fan.submit(tag.request);
    for (Step& member : fan.members) member.gate.open(tag.ready);
    tag.ready.run();
  }
  EXPECT_EQ(tag.arena.used_bytes(), 0U);
}

TEST(Gather, NeedsTheArenaOnly) {
  StepTag tag;
  Tree tree(3, 3);
  const uint64_t before = allocations();
  {
    const Task task = tree.submit(tag.request);
    for (Fan& fan : tree.fans) {
      for (Step& leaf : fan.members) leaf.gate.open(tag.ready);
    }
    tag.ready.run();
    EXPECT_TRUE(task.finished());
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST(GatherDeathTest, MoreChildrenThanItHasRoomForAreABug) {
  class TooMany {
   public:
    Task submit(Request& request) {
      Gather children(request, 1);
      children.add(kOk);
      children.add(kOk);
      const Status status = co_await children;
      co_return status;
    }
  };
  EXPECT_DEATH(
      {
        StepTag tag;
        TooMany target;
        (void)target.submit(tag.request);
      },
      "capacity_");
}

}  // namespace
}  // namespace sluice::test
