// mirror: spares, and legs that are replaced.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using mirror::LegState;
using mirror::MirrorOptions;
using testing::HasSubstr;

constexpr std::byte kOld{0x31};
constexpr std::byte kLater{0x32};

MirrorRig::Bytes blank_disk() { return MirrorRig::Bytes(3 << 20); }

MirrorOptions impatient() {
  MirrorOptions options;
  options.later_return = {};
  options.spare_after = {};
  return options;
}

bool same_data(MirrorRig& rig, size_t one, size_t other) {
  const auto legs = rig.contents();
  return std::ranges::equal(rig.data_on(legs[one]), rig.data_on(legs[other]));
}

// In the table of `teller`.
const mirror::LegEntry row_of(MirrorRig& rig, size_t teller, size_t leg) {
  return *rig.record(teller).find(rig.record(leg).leg);
}

void wait_for_legs(MirrorRig& rig, uint64_t in_sync, uint64_t spares) {
  rig.perform_until([&] {
    return rig.number("legs_in_sync") == in_sync && rig.number("spares") == spares &&
           rig.number("dirty_bytes") == 0;
  });
}

TEST(MirrorStandby, ASpareIsNotWrittenAndNotMissed) {
  MirrorRig rig({.legs = 2});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(2), blank_disk()), 0) << rig.why();
  EXPECT_EQ(rig.published().back().children.size(), 3U);
  ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
  rig.make_whole();
  EXPECT_EQ(rig.number("spares"), 1U);
  EXPECT_EQ(rig.mirror->health().state, HealthState::ok);
  EXPECT_FALSE(same_data(rig, 0, 2));
  const auto legs = rig.contents();
  rig.stop();

  MirrorRig without({.legs = 3}, {legs[0], legs[1], {}});
  EXPECT_EQ(without.start(), "");
}

TEST(MirrorStandby, ASpareComesInForALegThatWasLetGoAndThatOneIsTheSpareThen) {
  MirrorRig rig({.legs = 2});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(2), blank_disk()), 0) << rig.why();
  ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
  ASSERT_EQ(rig.control("fail(1)"), 0) << rig.why();
  ASSERT_EQ(rig.serve(Op::write, 1 << 20, 8192, kLater), 0);
  wait_for_legs(rig, 2, 1);
  EXPECT_TRUE(same_data(rig, 1, 2));
  EXPECT_EQ(row_of(rig, 1, 0).state, LegState::spare);
  EXPECT_EQ(row_of(rig, 1, 2).state, LegState::in_sync);

  ASSERT_EQ(rig.control("fail(3)"), 0) << rig.why();
  wait_for_legs(rig, 2, 1);
  EXPECT_TRUE(same_data(rig, 0, 1));
}

TEST(MirrorStandby, ASpareWaitsForALegThatMayComeBack) {
  for (const bool waits : {true, false}) {
    MirrorRig rig({.legs = 2}, waits ? MirrorOptions{} : impatient());
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(2), blank_disk()), 0) << rig.why();
    rig.disks[0]->fails = [](const Request&) { return ENODEV; };
    ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
    int steps = 0;
    rig.perform_until([&] { return ++steps > 2000 || rig.number("legs_in_sync") == 2; });
    EXPECT_EQ(rig.number("legs_in_sync"), waits ? 1U : 2U);
    EXPECT_EQ(rig.serve(Op::read, 0, 8192), 0);
    EXPECT_EQ(rig.memory().front(), kOld);
  }
}

TEST(MirrorStandby, ALegIsReplacedWithoutEverBeingMissed) {
  MirrorRig rig({.legs = 2});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
  ASSERT_EQ(rig.give("replace", MirrorRig::spec_of_leg(2), blank_disk(), "1"), 0) << rig.why();
  uint64_t fewest = 2;
  rig.perform_until([&] {
    fewest = std::min(fewest, rig.number("legs_in_sync"));
    return rig.record(0).state() == LegState::spare && rig.number("dirty_bytes") == 0;
  });
  EXPECT_EQ(fewest, 2U);
  EXPECT_TRUE(same_data(rig, 1, 2));
  EXPECT_EQ(rig.number("spares"), 0U);  // what was replaced is not taken by itself
  EXPECT_EQ(row_of(rig, 1, 0).state, LegState::spare);
  EXPECT_EQ(rig.control("fail(1)"), EINVAL);
  EXPECT_THAT(rig.why(), HasSubstr("remove it"));
  ASSERT_EQ(rig.control("remove(1)"), 0) << rig.why();
  EXPECT_EQ(rig.published().back().children.size(), 2U);
}

TEST(MirrorStandby, AReplacementGoesOnAfterACrash) {
  MirrorRig::Bytes first, second, third;
  {
    MirrorRig rig({.legs = 2});
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
    ASSERT_EQ(rig.give("replace", MirrorRig::spec_of_leg(2), blank_disk(), "1"), 0) << rig.why();
    const auto legs = rig.contents(VolatileDisk::Left::durable);
    first = legs[0], second = legs[1], third = legs[2];
    rig.make_whole();
  }
  MirrorRig rig({.legs = 3}, {first, second, third});
  ASSERT_EQ(rig.start(), "");
  rig.perform_until([&] { return row_of(rig, 1, 0).state == LegState::spare; });
  rig.make_whole();
  EXPECT_TRUE(same_data(rig, 1, 2));
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
}

TEST(MirrorStandby, WithoutASpecASpareTakesThePlace) {
  MirrorRig rig({.legs = 2});
  ASSERT_EQ(rig.start(), "");
  EXPECT_EQ(rig.control("replace(1)"), ENOENT);
  EXPECT_THAT(rig.why(), HasSubstr("no spare"));
  ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(2), blank_disk()), 0) << rig.why();
  ASSERT_EQ(rig.control("replace(1)"), 0) << rig.why();
  rig.perform_until([&] { return row_of(rig, 1, 0).state == LegState::spare; });
  EXPECT_EQ(row_of(rig, 1, 2).state, LegState::in_sync);
  EXPECT_EQ(rig.control("replace(3)"), ENOENT);
}

TEST(MirrorStandby, ASpareThatWasTakenAndFailsIsTriedAgainAndDataStays) {
  MirrorRig rig({.legs = 2}, impatient());
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.give("spare", MirrorRig::spec_of_leg(2), blank_disk()), 0) << rig.why();
  int failures = 3;
  rig.disks[2]->fails = [&](const Request& request) {
    return request.changes_data() && request.offset >= 1 << 20 && failures-- > 0 ? EIO : 0;
  };
  ASSERT_EQ(rig.serve(Op::write, 0, 8192, kOld), 0);
  ASSERT_EQ(rig.control("fail(1)"), 0) << rig.why();
  wait_for_legs(rig, 2, 1);
  EXPECT_TRUE(same_data(rig, 1, 2));
}

TEST(MirrorStandby, ALegOfTheArrayIsNoSpare) {
  MirrorRig rig({.legs = 2});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0) << rig.why();
  const auto legs = rig.contents();
  EXPECT_EQ(rig.give("spare", MirrorRig::spec_of_leg(5), legs[1]), EEXIST);
  EXPECT_THAT(rig.why(), HasSubstr("is a leg of this mirror"));
  EXPECT_EQ(rig.published().size(), 0U);
}

}  // namespace
}  // namespace sluice::test
