// What `promote` and `discard` of `sluice mirror` write, and what decide() makes of the legs if the
// command dies between any two writes.
#include "target/mirror/resolve.hpp"

#include <gmock/gmock.h>

#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

using testing::HasSubstr;
using enum LegState;

constexpr Generation kNext{.id = 99, .seconds = 99'000};

// Legs a and b; the states of both, as this one says.
PresentLeg one_of_two(char letter, std::vector<uint64_t> newest_first, LegState a, LegState b) {
  LegRecord record = whole_record();
  record.leg = uuid_of(static_cast<unsigned>(letter));
  std::vector<Generation> generations;
  for (const uint64_t id : newest_first) generations.push_back({.id = id});
  record.history = History(generations);
  record.bitmap_since = newest_first.back();
  record.legs = {{.leg = uuid_of('a'), .state = a, .label = "a.img"},
                 {.leg = uuid_of('b'), .state = b, .label = "b.img"}};
  return {.name = std::string(1, letter) + ".img", .record = record, .leg_bytes = 64 * kMiB};
}

// The legs before the first write, and after each.
std::vector<std::vector<PresentLeg>> after_each(std::vector<PresentLeg> legs,
                                                const std::vector<LegWrite>& writes) {
  std::vector<std::vector<PresentLeg>> all = {legs};
  for (const LegWrite& write : writes) {
    PresentLeg& leg = legs[write.leg];
    if (write.what == LegWrite::What::all_bits) {
      leg.dirty = true;
    } else {
      EXPECT_EQ(fault_of(write.record, leg.leg_bytes), "");
      EXPECT_EQ(write.record.leg, leg.record.leg);
      leg.record = write.record;
    }
    all.push_back(legs);
  }
  return all;
}

std::string refusal_of(const Result<std::vector<LegWrite>>& plan) {
  return plan ? "" : plan.error().text;
}

TEST(MirrorPromotion, APromotedLegGoesOnWithoutTheOther) {
  const std::vector legs = {one_of_two('b', {1}, in_sync, in_sync)};
  const Owner owner{.token = uuid_of(7), .host = "beta"};
  const auto writes = plan_promotion(legs, owner, kNext);
  ASSERT_EQ(refusal_of(writes), "");
  ASSERT_EQ(writes->size(), 1);
  const PresentLeg b = after_each(legs, *writes).back().front();
  EXPECT_EQ(b.record.owner, owner);
  EXPECT_FALSE(decide(std::vector{b}).degraded);
  // The other one returns as it was, and lacks what is dirty on either.
  const Decision both = decide(std::vector{one_of_two('a', {1}, in_sync, in_sync), b});
  ASSERT_FALSE(both.refusal);
  EXPECT_EQ(both.winner, 1);
  EXPECT_EQ(both.legs[0].role, Role::behind_by_bits);
  // Or it has gone on meanwhile.
  EXPECT_TRUE(decide(std::vector{one_of_two('a', {2, 1}, in_sync, out), b}).refusal);
  EXPECT_TRUE(plan_promotion(std::vector{b}, owner, {.id = 100})->empty());
}

TEST(MirrorPromotion, OnlyLegsInSyncArePromoted) {
  const Owner owner{.token = uuid_of(7)};
  EXPECT_THAT(
      refusal_of(plan_promotion(std::vector{one_of_two('b', {1}, in_sync, stale)}, owner, kNext)),
      HasSubstr("b.img says that 'a.img' has it"));
  std::vector legs = {one_of_two('a', {2, 1}, in_sync, out),
                      one_of_two('b', {1}, in_sync, in_sync)};
  for (PresentLeg& leg : legs) {
    leg.record.legs.push_back({.leg = uuid_of('c'), .state = in_sync, .label = "c.img"});
  }
  EXPECT_THAT(refusal_of(plan_promotion(legs, owner, kNext)), HasSubstr("promote the others"));
}

// Of the legs a and b with c, which is away: a crash leaves one that the other one is behind.
TEST(MirrorPromotion, BetweenTwoWritesOneLegIsBehindTheOther) {
  std::vector legs = {one_of_two('a', {1}, in_sync, in_sync),
                      one_of_two('b', {1}, in_sync, in_sync)};
  for (PresentLeg& leg : legs) {
    leg.record.legs.push_back({.leg = uuid_of('c'), .state = in_sync, .label = "c.img"});
  }
  const auto writes = plan_promotion(legs, {}, kNext);
  ASSERT_EQ(refusal_of(writes), "");
  const auto all = after_each(legs, *writes);
  ASSERT_EQ(all.size(), 3);
  EXPECT_EQ(decide(all[1]).legs[1].role, Role::behind_by_bits);
  EXPECT_TRUE(plan_promotion(all[1], {}, {.id = 100})->empty());
  EXPECT_EQ(decide(all[2]).legs[1].role, Role::equal);
}

struct ApartCase {
  PresentLeg a;
  PresentLeg b;
  bool needs_force = false;
};

TEST(MirrorDiscard, BetweenAnyTwoWritesTheLegsAreRefusedOrAsTheUserWants) {
  const ApartCase cases[] = {
      {one_of_two('a', {2, 1}, in_sync, out), one_of_two('b', {3, 1}, out, in_sync)},
      {one_of_two('a', {1}, in_sync, out), one_of_two('b', {1}, out, in_sync)},
      {one_of_two('a', {2, 1}, in_sync, out), one_of_two('b', {1}, in_sync, in_sync), true},
      {one_of_two('a', {2, 1}, in_sync, out), one_of_two('b', {2, 1}, in_sync, in_sync)},
  };
  for (const ApartCase& each : cases) {
    const std::vector legs = {each.b, each.a};  // b is kept
    EXPECT_EQ(plan_discard(legs, false, kNext).has_value(), !each.needs_force);
    const auto writes = plan_discard(legs, true, kNext);
    ASSERT_EQ(refusal_of(writes), "");
    ASSERT_EQ(writes->size(), 3);
    const auto all = after_each(legs, *writes);
    for (const auto& found : all) {
      const Decision decision = decide(found);
      const bool as_before = !decision.refusal && decision.winner == 1 && &found - &all[0] < 2;
      if (decision.refusal || as_before) continue;
      EXPECT_EQ(decision.winner, 0);
      // Its own bits, or its age, are the reason why it gets everything.
      EXPECT_TRUE(found[1].dirty);
    }
    const Decision decision = decide(all.back());
    ASSERT_FALSE(decision.refusal);
    EXPECT_EQ(decision.winner, 0);
    EXPECT_EQ(decision.legs[1].role, Role::behind_by_bits);
    EXPECT_FALSE(decision.degraded || decision.new_generation);
    EXPECT_FALSE(decide(std::vector{all.back()[0]}).degraded);
    EXPECT_TRUE(decide(std::vector{all.back()[1]}).refusal);
    EXPECT_TRUE(plan_discard(all.back(), false, {.id = 100})->empty());
  }
}

// c has followed a, away from b, when a is discarded: it must not win over b later.
TEST(MirrorDiscard, ALegThatFollowedTheDiscardedOneIsRefusedLater) {
  std::vector legs = {one_of_two('b', {1}, in_sync, in_sync),
                      one_of_two('a', {2, 1}, in_sync, out)};
  for (PresentLeg& leg : legs) {
    leg.record.legs.push_back({.leg = uuid_of('c'), .state = in_sync, .label = "c.img"});
  }
  PresentLeg c = legs[1];
  c.name = "c.img";
  c.record.leg = uuid_of('c');
  const auto writes = plan_discard(legs, true, kNext);
  ASSERT_EQ(refusal_of(writes), "");
  const PresentLeg b = after_each(legs, *writes).back().front();
  EXPECT_THAT(decide(std::vector{b, c}).refusal.value_or(Error{}).text,
              HasSubstr("were written apart"));
}

// It was replaced on the side that is kept.
TEST(MirrorDiscard, ASpareOfTheKeptLegStaysOne) {
  const std::vector legs = {one_of_two('b', {3, 1}, spare, in_sync),
                            one_of_two('a', {2, 1}, in_sync, out)};
  EXPECT_THAT(decide(legs).refusal.value_or(Error{}).text, HasSubstr("were written apart"));
  const auto writes = plan_discard(legs, false, kNext);
  ASSERT_EQ(refusal_of(writes), "");
  const Decision decision = decide(after_each(legs, *writes).back());
  ASSERT_FALSE(decision.refusal);
  EXPECT_EQ(decision.winner, 0);
  EXPECT_EQ(decision.legs[1].role, Role::spare);
}

TEST(MirrorDiscard, LegsThatAreEqualOrOfOtherArraysHaveNothingToDiscard) {
  std::vector legs = {one_of_two('a', {1}, in_sync, in_sync),
                      one_of_two('b', {1}, in_sync, in_sync)};
  EXPECT_THAT(refusal_of(plan_discard(legs, false, kNext)), HasSubstr("nothing to discard"));
  legs[1].record.array = uuid_of(200);
  EXPECT_THAT(refusal_of(plan_discard(legs, true, kNext)), HasSubstr("belongs to another array"));
  legs[1] = legs[0];
  EXPECT_THAT(refusal_of(plan_discard(legs, true, kNext)), HasSubstr("is the same leg as"));
  legs = {one_of_two('a', {2, 1}, stale, in_sync), one_of_two('b', {3, 1}, out, in_sync)};
  EXPECT_THAT(refusal_of(plan_discard(legs, true, kNext)), HasSubstr("no leg with all data"));
}

}  // namespace
}  // namespace sluice::mirror::test
