// mirror: legs that get writes after these were acknowledged.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using mirror::LegState;
using mirror::MirrorOptions;

constexpr uint64_t kPart = 4096;
constexpr std::byte kMark{0x42};

MirrorOptions second_follows() {
  MirrorOptions options;
  options.write_behind = mirror::leg_bit(1);
  options.write_behind_most = 64 << 10;
  return options;
}

bool has_mark(MirrorRig& rig, const MirrorRig::Bytes& leg, uint64_t part) {
  return rig.data_on(leg)[part * kPart] == kMark;
}

const mirror::LegEntry& second_row(const mirror::LegRecord& record) { return record.legs[1]; }

void wait_for_rest(MirrorRig& rig) {
  rig.perform_until([&] {
    return rig.number("write_behind_bytes") == 0 && rig.number("legs_following") == 1 &&
           rig.number("dirty_bytes") == 0;
  });
}

TEST(MirrorWriteBehind, AWriteIsAcknowledgedBeforeTheLegHasIt) {
  MirrorRig rig({.legs = 2}, second_follows());
  ASSERT_EQ(rig.start(), "");
  EXPECT_TRUE(rig.mirror->geometry().needs_bytes);
  EXPECT_EQ(rig.number("legs_following"), 1U);
  size_t later = 0;
  for (uint64_t part = 0; part < 40; ++part) {
    ASSERT_EQ(rig.serve(Op::write, part * kPart, kPart, kMark), 0);
    const auto legs = rig.contents();
    EXPECT_TRUE(has_mark(rig, legs[0], part));
    if (!has_mark(rig, legs[1], part)) ++later;
  }
  EXPECT_GT(later, 0U);
  EXPECT_EQ(rig.number("write_behind_copied_bytes"), 40 * kPart);
  wait_for_rest(rig);
  const auto legs = rig.contents();
  EXPECT_TRUE(std::ranges::equal(rig.data_on(legs[0]), rig.data_on(legs[1])));
  EXPECT_EQ(rig.mirror->health().state, HealthState::ok);
}

// What a power cut leaves on it: nothing that came after a flush, without all that came before.
TEST(MirrorWriteBehind, TheLegHasAtAnyMomentWhatOneDiskCouldHave) {
  MirrorRig rig({.legs = 2}, second_follows());
  ASSERT_EQ(rig.start(), "");
  size_t cuts = 0;
  size_t partial = 0;
  std::mt19937_64 random(5);
  rig.power.on_event = [&] {
    const auto leg = rig.disks[1]->after_cut(VolatileDisk::Left::any, random);
    uint64_t first = 0;
    while (first < 40 && has_mark(rig, leg, first)) ++first;
    for (uint64_t part = first + 1; part < 40; ++part) EXPECT_FALSE(has_mark(rig, leg, part));
    ++cuts;
    if (first > 0 && first < 40) ++partial;
  };
  for (uint64_t part = 0; part < 40; ++part) {
    ASSERT_EQ(rig.serve(Op::write, part * kPart, kPart, kMark), 0);
    ASSERT_EQ(rig.serve(Op::flush, 0, 0), 0);
  }
  wait_for_rest(rig);
  rig.power.on_event = nullptr;
  EXPECT_GT(cuts, 200U);
  EXPECT_GT(partial, 20U);
}

TEST(MirrorWriteBehind, TheOtherLegWinsAfterACrashWhateverTheOrder) {
  MirrorRig::Bytes first, second;
  {
    MirrorRig rig({.legs = 2}, second_follows());
    ASSERT_EQ(rig.start(), "");
    EXPECT_TRUE(second_row(rig.record(0)).follows);
    EXPECT_TRUE(second_row(rig.record(1)).follows);
    ASSERT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
    ASSERT_EQ(rig.serve(Op::flush, 0, 0), 0);
    const auto legs = rig.contents(VolatileDisk::Left::durable);
    first = legs[0];
    second = legs[1];
    wait_for_rest(rig);
  }
  MirrorRig rig({.legs = 2}, {second, first});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::read, 0, kPart), 0);
  EXPECT_EQ(rig.memory().front(), kMark);
  rig.perform_until([&] { return rig.number("legs_in_sync") == 2; });
  rig.make_whole();
  rig.perform_until([&] { return !second_row(rig.record(0)).follows; });
}

// It is no disk of any moment while dirty regions are copied, and may not be promoted then.
TEST(MirrorWriteBehind, AfterACrashTheLegIsStaleUntilItHasTheDirtyRegions) {
  std::vector<MirrorRig::Bytes> legs;
  {
    MirrorRig rig({.legs = 2}, second_follows());
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
    ASSERT_EQ(rig.serve(Op::write, 1 << 20, kPart, kMark), 0);
    ASSERT_EQ(rig.serve(Op::flush, 0, 0), 0);
    legs = rig.contents(VolatileDisk::Left::durable);
  }
  ASSERT_TRUE(second_row(record_on_leg({.legs = 2}, legs[1])).follows);
  const MirrorRig::Bytes before = legs[1];
  MirrorRig rig({.legs = 2}, legs, second_follows());
  std::mt19937_64 random(3);
  size_t mixtures = 0;
  rig.power.on_event = [&] {
    const auto leg = rig.disks[1]->after_cut(VolatileDisk::Left::any, random);
    const auto own = record_on_leg({.legs = 2}, leg).state();
    const auto lacks = [&](uint64_t part) { return !has_mark(rig, leg, part); };
    const bool is_as_before = std::ranges::equal(rig.data_on(leg), rig.data_on(before));
    if (is_as_before || (!lacks(0) && !lacks((1 << 20) / kPart))) return;
    EXPECT_EQ(own, LegState::stale);
    ++mixtures;
  };
  ASSERT_EQ(rig.start(), "");
  wait_for_rest(rig);
  rig.power.on_event = nullptr;
  EXPECT_GT(mixtures, 0U);
  EXPECT_TRUE(second_row(rig.record(1)).follows);
  EXPECT_EQ(rig.record(1).state(), LegState::in_sync);
}

TEST(MirrorWriteBehind, TheLegDoesNotStartAlone) {
  MirrorRig::Bytes second;
  {
    MirrorRig rig({.legs = 2}, second_follows());
    ASSERT_EQ(rig.start(), "");
    second = rig.contents(VolatileDisk::Left::durable)[1];
  }
  MirrorOptions degraded;
  degraded.degraded = true;
  MirrorRig rig({.legs = 2}, {{}, second}, degraded);
  const std::string why = rig.start();
  EXPECT_NE(why.find("may lack writes"), std::string::npos) << why;
}

TEST(MirrorWriteBehind, TheOnlyLegThatIsWrittenAtOnceIsNotReplacedByLaterOnes) {
  MirrorOptions options = second_follows();
  options.write_behind |= mirror::leg_bit(2);
  MirrorRig rig({.legs = 3}, options);
  ASSERT_EQ(rig.start(), "");
  EXPECT_EQ(rig.number("legs_following"), 2U);
  ASSERT_EQ(rig.control("fail(3)"), 0) << rig.why();
  ASSERT_EQ(rig.control("remove(3)"), 0) << rig.why();
  ASSERT_EQ(rig.control("fail(2)"), 0) << rig.why();
  ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
  ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(5), MirrorRig::Bytes(3 << 20)), 0);
  ASSERT_EQ(rig.control("replace(1)"), 0) << rig.why();
  int steps = 0;
  rig.perform_until([&] { return ++steps > 20'000; });
  EXPECT_EQ(rig.number("legs_in_sync") > 0, true);
  EXPECT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
}

TEST(MirrorWriteBehind, ALegThatFailsIsOutDurablyAndGetsTheRestWhenItReturns) {
  MirrorRig rig({.legs = 2}, second_follows());
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request&) { return ENODEV; };
  for (uint64_t part = 0; part < 40; ++part) {
    ASSERT_EQ(rig.serve(Op::write, part * kPart, kPart, kMark), 0);
  }
  rig.perform_until([&] { return rig.number("legs_following") == 0; });
  rig.perform_until([&] { return rig.record(0).legs[1].state == LegState::out; });
  ASSERT_EQ(rig.serve(Op::write, 1 << 20, kPart, kMark), 0);
  rig.disks[1]->fails = nullptr;
  if (rig.number("legs_following") == 0) rig.control("readd(2)");
  wait_for_rest(rig);
  const auto legs = rig.contents();
  EXPECT_TRUE(std::ranges::equal(rig.data_on(legs[0]), rig.data_on(legs[1])));
}

TEST(MirrorWriteBehind, AFullLogWaits) {
  MirrorOptions options = second_follows();
  options.write_behind_most = 8192;
  MirrorRig rig({.legs = 2}, options);
  ASSERT_EQ(rig.start(), "");
  for (uint64_t part = 0; part < 60; ++part) {
    ASSERT_EQ(rig.serve(Op::write, part * kPart, kPart + part % 2 * kPart, kMark), 0);
    if (part % 7 == 0) {
      ASSERT_EQ(rig.serve(Op::write, 1 << 20, 10 * kPart + 512, kMark), 0);  // more than it holds
      ASSERT_EQ(rig.serve(Op::write_zeroes, 1 << 20, kPart), 0);
    }
  }
  wait_for_rest(rig);
  const auto legs = rig.contents();
  EXPECT_TRUE(std::ranges::equal(rig.data_on(legs[0]), rig.data_on(legs[1])));
}

// The client is told that nothing was changed.
TEST(MirrorWriteBehind, FastZeroesThatTheOthersRefuseAreNotSent) {
  MirrorRig rig({.legs = 2}, second_follows());
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
  EXPECT_EQ(rig.serve_fast_zeroes(kPart, kPart), 0);
  rig.disks[0]->fails = [](const Request& request) { return request.fast_only ? EOPNOTSUPP : 0; };
  EXPECT_EQ(rig.serve_fast_zeroes(0, kPart), EOPNOTSUPP);
  wait_for_rest(rig);
  EXPECT_TRUE(has_mark(rig, rig.contents()[1], 0));
}

TEST(MirrorWriteBehind, ALegThatDoesNotKnowWritesLeavesAndIsNotZeroed) {
  MirrorRig rig({.legs = 2}, second_follows());
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request& request) {
    return request.op == Op::write ? EOPNOTSUPP : 0;
  };
  ASSERT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
  rig.perform_until([&] { return rig.record(0).legs[1].state == LegState::out; });
}

TEST(MirrorWriteBehind, AStopWaitsForWhatIsLeftInAnyOrder) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937_64 order(seed);
    MirrorRig rig({.legs = 2}, second_follows());
    ASSERT_EQ(rig.start(), "");
    rig.pick = [&order](size_t pending) { return order() % pending; };
    ASSERT_EQ(rig.serve(Op::write, 0, kPart, kMark), 0);
    rig.stop();
    EXPECT_TRUE(rig.record(0).clean);
  }
}

TEST(MirrorWriteBehind, AStopWaitsForWhatIsLeft) {
  MirrorRig::Bytes first, second;
  {
    MirrorRig rig({.legs = 2}, second_follows());
    ASSERT_EQ(rig.start(), "");
    for (uint64_t part = 0; part < 10; ++part) {
      ASSERT_EQ(rig.serve(Op::write, part * kPart, kPart, kMark), 0);
    }
    rig.stop();
    EXPECT_TRUE(rig.record(0).clean);
    const auto legs = rig.contents(VolatileDisk::Left::durable);
    EXPECT_TRUE(std::ranges::equal(rig.data_on(legs[0]), rig.data_on(legs[1])));
  }
}

}  // namespace
}  // namespace sluice::test
