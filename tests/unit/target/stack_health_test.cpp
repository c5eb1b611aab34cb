// The health of a stack: the worst state of its targets, and a failed flush; changes are events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/events.hpp"
#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/missing.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Sink final : public EventSink {
 public:
  Sink() : before_(set_event_sink(this)) {}
  ~Sink() override { set_event_sink(before_); }
  void put(const StackEvent& event) override {
    kinds.emplace_back(event.kind);
    targets.emplace_back(event.target);
    texts.emplace_back(event.text);
  }

  std::vector<std::string> kinds, targets, texts;

 private:
  EventSink* const before_;
};

class Sick final : public Target {
 public:
  explicit Sick(HealthState state, Children children = {}, bool is_redundant = false)
      : Target(std::move(children)), state_(state), is_redundant_(is_redundant) {
    set_name("sick");
    geometry_.size_bytes = 1 << 20;
  }
  Health health() const override {
    return {.state = state_,
            .reason = "half of it is gone",
            .numbers = {{.name = "lost"}},
            .is_redundant = is_redundant_};
  }

 private:
  Task do_submit(Request&) override { return kOk; }

  const HealthState state_;
  const bool is_redundant_;
};

std::unique_ptr<Target> sick(HealthState state, std::unique_ptr<Target> below = nullptr) {
  Target::Children children;
  if (below) children.push_back(std::move(below));
  return std::make_unique<Sick>(state, std::move(children));
}

TEST(StackHealth, IsOkByItself) {
  const Stack stack(std::make_unique<Member>(3, 1 << 20));
  const StackHealth health = stack.health();
  EXPECT_EQ(health.state, HealthState::ok);
  EXPECT_EQ(health.reason, "");
  ASSERT_EQ(health.targets.size(), 1U);
  EXPECT_THAT(health.targets[0].health.numbers, IsEmpty());
}

TEST(StackHealth, IsDegradedAtMostByWhatARedundantTargetHasElsewhere) {
  Target::Children legs;
  legs.push_back(sick(HealthState::failed, sick(HealthState::failed)));
  legs.push_back(std::make_unique<Missing>(Error{}));  // a free place, which is not shown
  const Stack stack(std::make_unique<Sick>(HealthState::ok, std::move(legs), true));
  const StackHealth health = stack.health();
  EXPECT_EQ(health.state, HealthState::degraded);
  EXPECT_EQ(health.reason, "sick#2: half of it is gone");
  EXPECT_EQ(health.targets.size(), 3U);
}

TEST(StackHealth, IsThatOfTheWorstTargetWithItsName) {
  const Stack stack(sick(HealthState::degraded, sick(HealthState::failed)));
  const StackHealth health = stack.health();
  EXPECT_EQ(health.state, HealthState::failed);
  EXPECT_EQ(health.reason, "sick#2: half of it is gone");
  ASSERT_EQ(health.targets.size(), 2U);
  EXPECT_EQ(health.targets[0].name, "sick");
  EXPECT_EQ(health.targets[0].health.state, HealthState::degraded);
  EXPECT_EQ(health.targets[1].name, "sick#2");
}

TEST(StackHealth, HasFailedAfterAFailedFlushWhichIsToldOnce) {
  Sink sink;
  ManualRing ring;
  TestTag tag(ring);
  Stack stack(std::make_unique<Member>(3, 1 << 20));
  Request& request = tag.make(Op::flush, 0, 0);
  Task task = stack.submit(request);
  ring.settle();
  ASSERT_EQ(ring.pending(), 1U);
  ring.complete(0, -EIO);
  ASSERT_TRUE(task.finished());
  const StackHealth health = stack.health();
  EXPECT_EQ(health.state, HealthState::failed);
  EXPECT_NE(health.reason.find("writes are refused"), std::string::npos);
  EXPECT_THAT(sink.kinds, ElementsAre("stack_failed"));
  EXPECT_THAT(sink.targets, ElementsAre(""));
}

TEST(StackHealth, AFaultTellsOfItsFirstErrorAndCountsAll) {
  Sink sink;
  ManualRing ring;
  TestTag tag(ring);
  const auto stack =
      Stack::open(*parse_spec("fault(null:1M, errors=1, count=2)", target_vocabulary()), false);
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->health().state, HealthState::ok);
  std::vector<std::byte> memory(4096);
  for (int i = 0; i < 3; ++i) {
    Task task = (*stack)->submit(tag.make(Op::read, 0, memory));
    ring.settle();
    EXPECT_TRUE(task.finished());
  }
  const StackHealth health = (*stack)->health();
  EXPECT_EQ(health.state, HealthState::degraded);
  EXPECT_EQ(health.reason, "fault: it makes requests fail");
  ASSERT_EQ(health.targets.at(0).health.numbers.size(), 1U);
  EXPECT_EQ(health.targets[0].health.numbers[0].name, "injected_errors");
  EXPECT_EQ(health.targets[0].health.numbers[0].value, 2U);
  EXPECT_THAT(sink.kinds, ElementsAre("health_changed"));
  EXPECT_THAT(sink.targets, ElementsAre("fault"));
}

}  // namespace
}  // namespace sluice::test
