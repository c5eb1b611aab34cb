// decide(): what each leg is, case by case.
#include "target/mirror/assembly.hpp"

#include <gmock/gmock.h>

#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using enum LegState;

// Legs a, b, c ... of one array; the states of all, as this leg says.
PresentLeg leg(char letter, std::vector<uint64_t> newest_first, std::vector<LegState> states) {
  LegRecord record = whole_record();
  record.leg = uuid_of(static_cast<unsigned>(letter));
  std::vector<Generation> generations;
  for (const uint64_t id : newest_first) generations.push_back({.id = id, .seconds = id * 1000});
  record.history = History(generations);
  record.bitmap_since = newest_first.back();
  record.legs.clear();
  for (size_t i = 0; i < states.size(); ++i) {
    const auto other = static_cast<char>('a' + i);
    record.legs.push_back({.leg = uuid_of(static_cast<unsigned>(other)),
                           .state = states[i],
                           .label = std::string(1, other) + ".img"});
  }
  return {.name = std::string(1, letter) + ".img", .record = record, .leg_bytes = 64 * kMiB};
}

std::vector<Role> roles(const Decision& decision) {
  std::vector<Role> all;
  for (const Decision::Leg& one : decision.legs) all.push_back(one.role);
  return all;
}

std::vector<LegState> states(const Decision& decision) {
  std::vector<LegState> all;
  for (const LegEntry& entry : decision.table) all.push_back(entry.state);
  return all;
}

std::string refusal(const Decision& decision) {
  return decision.refusal ? decision.refusal->text : "";
}

using Roles = std::vector<Role>;
using States = std::vector<LegState>;

TEST(MirrorAssembly, ALegThatFollowsWinsOnlyAlone) {
  PresentLeg follower = leg('a', {1}, {in_sync, in_sync});
  follower.record.legs[0].follows = true;
  const PresentLeg other = leg('b', {1}, {in_sync, in_sync});
  const Decision both = decide(std::vector{follower, other});
  EXPECT_EQ(both.winner, 1);
  EXPECT_TRUE(both.table[0].follows);
  const Decision alone = decide(std::vector{follower});
  EXPECT_EQ(alone.winner, 0);
  EXPECT_TRUE(alone.degraded);
  EXPECT_FALSE(alone.table[0].follows);
}

TEST(MirrorAssembly, LegsOfOneGenerationAreEqual) {
  const Decision decision =
      decide(std::vector{leg('b', {1}, {in_sync, in_sync}), leg('a', {1}, {in_sync, in_sync})});
  EXPECT_EQ(refusal(decision), "");
  EXPECT_EQ(decision.winner, 0);
  EXPECT_EQ(roles(decision), (Roles{Role::winner, Role::equal}));
  EXPECT_FALSE(decision.degraded || decision.new_generation);
  EXPECT_EQ(states(decision), (States{in_sync, in_sync}));
}

TEST(MirrorAssembly, T3_7_EqualGenerationsWithDirtyBitsDifferThere) {
  std::vector legs = {leg('a', {1}, {in_sync, in_sync, in_sync}),
                      leg('b', {1}, {in_sync, in_sync, in_sync}),
                      leg('c', {1}, {in_sync, in_sync, in_sync})};
  for (PresentLeg& dirty : legs) {
    dirty.dirty = true;
    EXPECT_EQ(roles(decide(legs)),
              (Roles{Role::winner, Role::equal_but_dirty, Role::equal_but_dirty}));
    dirty.dirty = false;
  }
}

TEST(MirrorAssembly, T3_3_ALegThatWasLeftBehindIsNeverGood) {
  // Only c knows that a and b are out: the newest generation decides, not the majority.
  const std::vector legs = {leg('a', {1}, {in_sync, in_sync, in_sync}),
                            leg('b', {1}, {in_sync, in_sync, in_sync}),
                            leg('c', {2, 1}, {out, out, in_sync})};
  const Decision decision = decide(legs);
  EXPECT_EQ(roles(decision), (Roles{Role::behind_by_bits, Role::behind_by_bits, Role::winner}));
  EXPECT_FALSE(decision.degraded || decision.new_generation);
  EXPECT_EQ(states(decision), (States{stale, stale, in_sync}));
}

TEST(MirrorAssembly, T3_3_WithinAGenerationTheWorseStatementHolds) {
  // The crash came when b had called itself in sync and a had not heard of it.
  const std::vector legs = {leg('a', {1}, {in_sync, stale}), leg('b', {1}, {in_sync, in_sync})};
  const Decision decision = decide(legs);
  EXPECT_EQ(roles(decision), (Roles{Role::winner, Role::behind_by_bits}));
  EXPECT_TRUE(decision.new_generation);
}

TEST(MirrorAssembly, T3_4_NeitherTheLongerHistoryNorTheLaterClockWins) {
  const std::vector legs = {leg('a', {9, 8, 7, 1}, {in_sync, out}),
                            leg('b', {2, 1}, {out, in_sync})};
  const Decision decision = decide(legs);
  EXPECT_EQ(roles(decision), (Roles{Role::refused, Role::refused}));
  EXPECT_FALSE(decision.winner);
}

TEST(MirrorAssembly, T3_5_LegsThatWereWrittenApartAreRefusedWithTheirPasts) {
  std::vector legs = {leg('a', {3, 1}, {in_sync, out}), leg('b', {2, 1}, {out, in_sync})};
  const Decision decision = decide(legs);
  ASSERT_TRUE(decision.refusal);
  EXPECT_EQ(decision.refusal->error, EBUSY);
  EXPECT_EQ(decision.refusal->text,
            "a.img and b.img were written apart: a.img has 0000000000000003 (1970-01-01 00:50:00 "
            "UTC), used last by 'alpha'; b.img has 0000000000000002 (1970-01-01 00:33:20 UTC), "
            "used last by 'alpha'; the last they have in common is 0000000000000001 (1970-01-01 "
            "00:16:40 UTC); give up what one of them has by 'sluice mirror discard', while no "
            "server uses them");
  const Decision decided = decide(legs, std::vector<size_t>{0});
  EXPECT_EQ(refusal(decided), "");
  EXPECT_EQ(roles(decided), (Roles{Role::behind_all, Role::winner}));
  EXPECT_TRUE(decided.new_generation);
  EXPECT_EQ(states(decided), (States{stale, in_sync}));
}

TEST(MirrorAssembly, T3_5_AnAncestorOlderThanTheBitmapIsCopiedAsAWhole) {
  std::vector legs = {leg('a', {4, 3, 2, 1}, {in_sync, out}), leg('b', {2, 1}, {in_sync, in_sync})};
  legs[0].record.bitmap_since = 2;
  EXPECT_EQ(roles(decide(legs)), (Roles{Role::winner, Role::behind_by_bits}));
  legs[0].record.bitmap_since = 3;
  EXPECT_EQ(roles(decide(legs)), (Roles{Role::winner, Role::behind_all}));
}

TEST(MirrorAssembly, AHistoryWithItsOwnFutureIsRefused) {
  const std::vector legs = {leg('a', {2, 1}, {in_sync, in_sync}),
                            leg('b', {1, 2}, {in_sync, in_sync})};
  EXPECT_THAT(refusal(decide(legs)), HasSubstr("were written apart"));
}

TEST(MirrorAssembly, LegsThatCallEachOtherOutOfDateAreRefused) {
  const std::vector legs = {leg('a', {1}, {in_sync, out}), leg('b', {1}, {out, in_sync})};
  EXPECT_THAT(refusal(decide(legs)), HasSubstr("each calls the other out of date"));
}

TEST(MirrorAssembly, WithoutALegThatHasAllDataItDoesNotStart) {
  // b was copied to when a went.
  const Decision alone = decide(std::vector{leg('b', {2, 1}, {in_sync, stale})});
  EXPECT_EQ(refusal(alone),
            "no leg with all data is there: b.img says that 'a.img' has it; bring "
            "that one back");
  const std::vector legs = {leg('b', {2, 1}, {in_sync, stale, out}),
                            leg('c', {1}, {in_sync, in_sync, in_sync})};
  EXPECT_THAT(refusal(decide(legs)),
              HasSubstr("or give up what b.img has by 'sluice mirror discard'"));
  const Decision decided = decide(legs, std::vector<size_t>{0});
  EXPECT_EQ(roles(decided), (Roles{Role::behind_all, Role::winner}));
  EXPECT_TRUE(decided.degraded && decided.new_generation);
}

TEST(MirrorAssembly, AMissingLegThatWasInSyncDegradesTheArray) {
  const Decision decision = decide(std::vector{leg('a', {1}, {in_sync, in_sync, out, spare})});
  EXPECT_TRUE(decision.degraded && decision.new_generation);
  ASSERT_EQ(decision.missing.size(), 3);
  EXPECT_EQ(decision.missing[0].entry.label, "b.img");
  EXPECT_EQ(decision.missing[0].entry.state, in_sync);
  EXPECT_EQ(states(decision), (States{in_sync, out, out, spare}));
}

TEST(MirrorAssembly, AMissingLegThatWasOutDoesNot) {
  const Decision decision = decide(std::vector{leg('a', {2, 1}, {in_sync, out})});
  EXPECT_FALSE(decision.degraded || decision.new_generation);
  EXPECT_EQ(decision.missing.size(), 1);
}

TEST(MirrorAssembly, SparesHaveNoSay) {
  std::vector legs = {leg('a', {1}, {in_sync, spare}), leg('b', {77}, {in_sync, spare})};
  EXPECT_EQ(roles(decide(legs)), (Roles{Role::winner, Role::spare}));
  // Promoted, and the crash came before its superblock said so.
  legs[0].record.legs[1].state = stale;
  EXPECT_EQ(roles(decide(legs)), (Roles{Role::winner, Role::behind_all}));
  EXPECT_THAT(refusal(decide(std::span(legs).subspan(1))), HasSubstr("all are spares"));
}

TEST(MirrorAssembly, LegsOfOtherArraysAndCopiesAreRefusedByName) {
  std::vector legs = {leg('a', {1}, {in_sync, in_sync}), leg('b', {1}, {in_sync, in_sync})};
  legs[1].record.array = uuid_of(200);
  legs[1].record.name = "srv";
  EXPECT_THAT(refusal(decide(legs)),
              AllOf(HasSubstr("b.img belongs to another array"), HasSubstr("'srv'"),
                    HasSubstr("a.img"), HasSubstr("'home'")));
  legs[1] = legs[0];
  legs[1].name = "copy.img";
  EXPECT_THAT(refusal(decide(legs)), HasSubstr("copy.img is the same leg as a.img"));
  for (const LegState own : {in_sync, stale, spare}) {
    legs[1] = leg('c', {1}, {in_sync, in_sync, own});
    EXPECT_THAT(refusal(decide(legs)), HasSubstr("c.img is no leg of the array any more"));
  }
  EXPECT_THAT(refusal(decide({})), HasSubstr("without any leg"));
}

TEST(MirrorAssembly, ALegThatOneOfTheEqualLegsKnowsIsALeg) {
  const std::vector legs = {leg('a', {1}, {in_sync, in_sync}),
                            leg('b', {1}, {in_sync, in_sync, stale}),
                            leg('c', {1}, {in_sync, in_sync, stale})};
  const Decision decision = decide(legs);
  EXPECT_EQ(roles(decision), (Roles{Role::winner, Role::equal, Role::behind_by_bits}));
  EXPECT_EQ(states(decision), (States{in_sync, in_sync, stale}));
}

// T3.11: the larger size was shown to nobody as long as one leg does not have it.
TEST(MirrorAssembly, TheSmallestSizeOfTheEqualLegsHolds) {
  std::vector legs = {leg('a', {1}, {in_sync, in_sync}), leg('b', {1}, {in_sync, in_sync})};
  legs[1].record.data_bytes = 60 * kMiB;
  EXPECT_EQ(decide(legs).data_bytes, 60 * kMiB);
  legs[1] = leg('b', {2, 1}, {out, in_sync});
  legs[0].record.data_bytes = 60 * kMiB;
  EXPECT_EQ(decide(legs).data_bytes, 63 * kMiB);
  legs[0].leg_bytes = 61 * kMiB;
  EXPECT_THAT(refusal(decide(legs)), HasSubstr("a.img has room for 62914560 bytes of data"));
}

TEST(MirrorAssembly, OtherRegionsOrBlocksAreRefused) {
  std::vector legs = {leg('a', {1}, {in_sync, in_sync}), leg('b', {1}, {in_sync, in_sync})};
  legs[1].record.region_bytes *= 2;
  EXPECT_THAT(refusal(decide(legs)), HasSubstr("b.img has blocks of 512 and regions of 2097152"));
}

TEST(MirrorAssembly, ALegIsChosenByItsNumberOrText) {
  const std::vector<std::string> names = {"a.img", "2", "c.img"};
  EXPECT_EQ(choose_leg(names, "c.img").value(), 2);
  EXPECT_EQ(choose_leg(names, "1").value(), 0);
  EXPECT_EQ(choose_leg(names, "2").value(), 1);
  EXPECT_EQ(choose_leg(names, "3").value(), 2);
  for (const char* const wrong : {"0", "4", "d.img", "1x", "", "-1"}) {
    EXPECT_THAT(choose_leg(names, wrong).error().text, HasSubstr("1 to 3, or one of a.img, 2"));
  }
}

}  // namespace
}  // namespace sluice::mirror::test
