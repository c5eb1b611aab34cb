// The life of targets: the order of the calls, failures in the middle, and repeated starts and
// stops.
#include "target/life/stack_life.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontend/direct/device.hpp"
#include "support/living_target.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A living target on another one, on memory.
struct TwoLayers {
  TwoLayers() {
    auto below = std::make_unique<LivingTarget>("below", diary, open_leaf("mem:1M"));
    lower = below.get();
    auto above = std::make_unique<LivingTarget>("above", diary, std::move(below));
    upper = above.get();
    stack = std::make_unique<Stack>(std::move(above));
  }

  Diary diary;
  LivingTarget* lower = nullptr;
  LivingTarget* upper = nullptr;
  std::unique_ptr<Stack> stack;
};

TEST(StackLife, ChildrenAreStartedFirstAndStoppedLast) {
  TwoLayers two;
  for (int times = 0; times < 2; ++times) {
    ASSERT_TRUE(two.stack->start());
    EXPECT_THAT(two.diary.take(),
                ElementsAre("below start", "below attach", "above start", "above attach"));
    EXPECT_TRUE(two.stack->start()) << "it is started already";
    EXPECT_THAT(two.diary.take(), IsEmpty());
    two.stack->stop();
    EXPECT_THAT(two.diary.take(),
                ElementsAre("above detach", "above stop", "below detach", "below stop"));
    two.stack->stop();
    EXPECT_THAT(two.diary.take(), IsEmpty());
  }
}

TEST(StackLife, AStackIsStoppedAtItsEnd) {
  TwoLayers two;
  ASSERT_TRUE(two.stack->start());
  two.diary.take();
  two.stack.reset();
  EXPECT_THAT(two.diary.take(),
              ElementsAre("above detach", "above stop", "below detach", "below stop"));
}

TEST(StackLife, AStartThatFailsLeavesNothingStarted) {
  TwoLayers two;
  two.upper->behaviour.fails = "start";
  auto started = two.stack->start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().error, EPERM);
  EXPECT_EQ(started.error().text, "above does not want to start");
  EXPECT_THAT(two.diary.take(),
              ElementsAre("below start", "below attach", "below detach", "below stop"));
  two.upper->behaviour.fails = "";
  EXPECT_TRUE(two.stack->start()) << "a later one may succeed";
}

TEST(StackLife, WhatWasStartedAndNotAttachedIsStopped) {
  TwoLayers two;
  two.upper->behaviour.fails = "attach";
  EXPECT_EQ(two.stack->start().error().text, "above does not want to attach");
  EXPECT_THAT(two.diary.take(), ElementsAre("below start", "below attach", "above start",
                                            "above stop", "below detach", "below stop"));
}

TEST(StackLife, ANewSizeIsDurableBeforeItIsPublished) {
  TwoLayers two;
  ASSERT_TRUE(two.stack->start());
  two.diary.take();
  const auto resized = two.stack->resize(2 << 20);
  ASSERT_TRUE(resized) << resized.error().text;
  EXPECT_EQ(uint64_t{two.stack->geometry().size_bytes}, 2U << 20);
  EXPECT_THAT(two.diary.take(), ElementsAre("below resize", "above resize"));
}

TEST(StackLife, ATargetThatHasShrunkIsRefused) {
  TwoLayers two;
  two.lower->behaviour.shrinks_to = 512 << 10;
  auto started = two.stack->start();
  EXPECT_EQ(started.error().error, ESTALE);
  EXPECT_THAT(started.error().text, HasSubstr("below had 1048576 bytes when it was opened"));
  EXPECT_THAT(two.diary.take(),
              ElementsAre("below start", "below attach", "below detach", "below stop"));
}

// A target needs a call for `look` to learn its size.
TEST(StackLife, ALookEndsBeforeTheStart) {
  Diary diary;
  LivingTarget target("it", diary, open_leaf("mem:1M"));
  OpenContext context(false);
  ASSERT_TRUE(context.look_at(target));
  EXPECT_THAT(diary.take(), ElementsAre("it look", "it attach"));
  context.end_look();
  EXPECT_THAT(diary.take(), ElementsAre("it detach", "it stop"));
  context.end_look();
  EXPECT_THAT(diary.take(), IsEmpty());
  target.behaviour.fails = "look";
  EXPECT_EQ(context.look_at(target).error().text, "it does not want to look");
  context.end_look();
  EXPECT_THAT(diary.take(), IsEmpty());
}

TEST(StackLife, AReactorIsAttachedBeforeRequestsAndDetachedAfterThem) {
  TwoLayers two;
  ASSERT_TRUE(two.stack->start());
  two.diary.take();
  {
    auto device = direct::Device::create(*two.stack, {.queues = 2});
    ASSERT_TRUE(device);
    EXPECT_THAT(two.diary.take(),
                ElementsAre("below attach", "above attach", "below attach", "above attach"));
    std::vector<std::byte> memory(4096, std::byte{1});
    EXPECT_TRUE((*device)->write(0, memory).ok());
  }
  EXPECT_THAT(two.diary.take(), testing::UnorderedElementsAre("above detach", "below detach",
                                                              "above detach", "below detach"));
}

TEST(StackLife, AReactorThatCannotBeAttachedDoesNotServe) {
  TwoLayers two;
  ASSERT_TRUE(two.stack->start());
  two.diary.take();
  two.upper->behaviour.fails = "attach";
  auto device = direct::Device::create(*two.stack, {});
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().text, "above does not want to attach");
  EXPECT_THAT(two.diary.take(), ElementsAre("below attach", "below detach"));
}

TEST(StackLife, StacksWithoutLivingTargetsHaveNone) {
  Stack stack(open_leaf("mem:1M"));
  EXPECT_TRUE(stack.life().empty());
  EXPECT_TRUE(stack.start());
  EXPECT_TRUE(direct::Device::create(stack, {}));
}

}  // namespace
}  // namespace sluice::test
