// mirror: legs that leave, come back, are taken for the first time, or cannot be read at the start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using mirror::LegState;
using testing::HasSubstr;

constexpr uint64_t kWritten = 8192;
constexpr std::byte kData{0x5a};
constexpr std::byte kNewer{0x5b};

bool is_in_data(const Request& request) { return request.offset >= 1 << 20; }

bool data_is_equal(MirrorRig& rig) {
  const auto legs = rig.contents();
  return std::ranges::all_of(legs, [&](const auto& leg) {
    return leg.empty() || std::ranges::equal(rig.data_on(leg), rig.data_on(legs.front()));
  });
}

// --- The spec

TEST(MirrorLegs, TheSpecDoesNotPreferALegThatWasRemoved) {
  MirrorRig rig({.legs = 3}, {.write_mostly = mirror::leg_bit(2), .prefer = 2});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(3)"), 0);
  ASSERT_EQ(rig.control("remove(3)"), 0) << rig.why();
  const Spec& spec = rig.published().back();
  EXPECT_EQ(spec.children.size(), 2U);
  EXPECT_FALSE(spec.has("prefer"));
  EXPECT_FALSE(spec.has("write_mostly"));
}

TEST(MirrorLegs, TheSpecCountsLegsWithoutThoseThatWereRemoved) {
  MirrorRig rig({.legs = 3}, {.write_mostly = mirror::leg_bit(2), .prefer = 1});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(1)"), 0);
  ASSERT_EQ(rig.control("remove(1)"), 0) << rig.why();
  const Spec& spec = rig.published().back();
  EXPECT_EQ(spec.number("prefer", 0), 1U);
  EXPECT_EQ(spec.text("write_mostly"), "2");
}

TEST(MirrorLegs, ANewLegIsNotWriteMostlyLikeTheOneThatWasInItsPlace) {
  MirrorRig rig({.legs = 3}, {.write_mostly = mirror::leg_bit(0) | mirror::leg_bit(1)});
  ASSERT_EQ(rig.start(), "");
  for (int removed = 0; removed < 2; ++removed) {
    ASSERT_EQ(rig.control("fail(1)"), 0);
    ASSERT_EQ(rig.control("remove(1)"), 0) << rig.why();
  }
  ASSERT_EQ(rig.add(MirrorRig::spec_of_leg(5), MirrorRig::Bytes(3 << 20)), 0) << rig.why();
  EXPECT_FALSE(rig.published().back().has("write_mostly"));
  rig.make_whole();
  const uint64_t before = rig.disks.back()->reads();
  for (uint64_t offset = 0; offset < 1 << 20; offset += 64 << 10) {
    ASSERT_EQ(rig.serve(Op::read, offset, kWritten), 0);
  }
  EXPECT_GT(rig.disks.back()->reads(), before);
}

// --- Who may come back

TEST(MirrorLegs, ADiskThatIsNoLegAnyMoreIsNotTakenBack) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0);
  const MirrorRig::Bytes foreign(rig.contents()[1].size(), kData);
  rig.disks[1]->load(foreign);
  EXPECT_NE(rig.control("readd(2)"), 0);
  EXPECT_THAT(rig.why(), HasSubstr("is no leg of this mirror any more"));
  EXPECT_EQ(rig.contents()[1], foreign);
}

TEST(MirrorLegs, ADiskThatIsNoLegAnyMoreIsNotTakenBackByItself) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request&) { return ENODEV; };
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  const MirrorRig::Bytes foreign(rig.contents()[1].size(), kData);
  rig.disks[1]->load(foreign);
  rig.disks[1]->fails = nullptr;
  const uint64_t before = rig.disks[1]->reads();
  rig.perform_until([&] { return rig.disks[1]->reads() >= before + 2; });
  for (int i = 0; i < 1000; ++i) rig.ring.perform(0);
  EXPECT_EQ(rig.contents()[1], foreign);
}

TEST(MirrorLegs, ALegThatIsBeingTakenBackCannotBeRemoved) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request&) { return ENODEV; };
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  const uint64_t before = rig.disks[1]->reads();
  rig.disks[1]->fails = nullptr;
  rig.perform_until([&] { return rig.disks[1]->reads() > before; });
  for (const std::string verb : {"remove(2)", "readd(2)"}) {
    EXPECT_EQ(rig.control(verb), EBUSY);
    EXPECT_THAT(rig.why(), HasSubstr("is being taken back"));
  }
  rig.make_whole();
  EXPECT_TRUE(data_is_equal(rig));
}

TEST(MirrorLegs, ASpareThatBecomesALegIsCopiedAsAWhole) {
  const MirrorShape shape;
  auto legs = make_mirror_legs(shape);
  const mirror::Uuid spare = record_on_leg(shape, legs[1]).leg;
  for (auto& leg : legs) {
    mirror::LegRecord record = record_on_leg(shape, leg);
    record.find(spare)->state = LegState::spare;
    put_record_on_leg(shape, leg, record);
  }
  std::fill_n(legs[0].begin() + (1 << 20), kWritten, kData);
  MirrorRig rig(shape, legs);
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
  rig.make_whole();
  EXPECT_TRUE(data_is_equal(rig));
}

TEST(MirrorLegs, ANewDiskInThePlaceOfALegTakesItsRow) {
  const MirrorShape shape;
  auto legs = make_mirror_legs(shape);
  legs[1].clear();
  MirrorRig rig(shape, legs, {.degraded = true});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  ASSERT_EQ(rig.add(MirrorRig::spec_of_leg(1), MirrorRig::Bytes(legs[0].size())), 0) << rig.why();
  rig.disks.erase(rig.disks.begin() + 1);
  rig.make_whole();
  EXPECT_TRUE(data_is_equal(rig));
  EXPECT_EQ(rig.record(0).legs.size(), 2U);
  EXPECT_EQ(rig.record(1).legs.size(), 2U);
}

// Its row is that of the place where it is now.
TEST(MirrorLegs, ALegThatHasMovedStaysWhenItsFormerPlaceIsRemoved) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0);
  ASSERT_EQ(rig.add(MirrorRig::spec_of_leg(5), rig.contents()[1]), 0) << rig.why();
  ASSERT_EQ(rig.control("remove(2)"), 0) << rig.why();
  rig.disks.erase(rig.disks.begin() + 1);
  rig.make_whole();
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  EXPECT_EQ(rig.record(0).legs.size(), 2U);
  EXPECT_EQ(rig.record(1).state(), LegState::in_sync);
  EXPECT_TRUE(data_is_equal(rig));
}

// Bits were kept for it for ever.
TEST(MirrorLegs, ALegThatTheSpecDoesNotHaveIsRemovedByItsLabel) {
  const MirrorShape shape;
  auto legs = make_mirror_legs(shape);
  legs.pop_back();
  MirrorRig rig(shape, legs, {.degraded = true});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  EXPECT_EQ(rig.control("remove(leg0)"), EINVAL) << "it has a place";
  EXPECT_EQ(rig.control("remove(leg1)"), 0) << rig.why();
  EXPECT_EQ(rig.record(0).legs.size(), 1U);
  rig.make_whole();
}

// --- Verbs while others fail

TEST(MirrorLegs, ALegIsNotLetGoIfNoOtherCanBeWritten) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  rig.disks[0]->fails = [](const Request&) { return EIO; };
  EXPECT_EQ(rig.control("fail(2)"), EIO);
  EXPECT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  EXPECT_EQ(rig.serve(Op::read, 0, kWritten), 0);
  EXPECT_EQ(rig.memory(), MirrorRig::Bytes(kWritten, kData));
}

TEST(MirrorLegs, ALegThatCannotBeToldOfARemovalLeaves) {
  MirrorRig rig({.legs = 3});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0);
  rig.disks[2]->fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
  EXPECT_EQ(rig.control("remove(2)"), 0) << rig.why();
  rig.disks[2]->fails = nullptr;
  EXPECT_EQ(rig.number("legs_in_sync"), 1U);
  EXPECT_EQ(rig.control("readd(2)"), 0) << rig.why();
  rig.disks.erase(rig.disks.begin() + 1);
  rig.make_whole();
  EXPECT_TRUE(data_is_equal(rig));
}

// --- The start

// Whatever is left of a start without any write: the next one goes on in a generation that the
// other leg does not have.
TEST(MirrorLegs, LegsThatWereWrittenApartAreRefusedHoweverTheFirstStartEnded) {
  const MirrorShape shape;
  const auto legs = make_mirror_legs(shape);
  const auto write_alone = [&](MirrorRig::Bytes leg, size_t index) {
    std::vector<MirrorRig::Bytes> alone(2);
    alone[index] = std::move(leg);
    MirrorRig rig(shape, alone, {.degraded = true});
    EXPECT_EQ(rig.start(), "");
    EXPECT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
    rig.stop();
    return rig.contents(VolatileDisk::Left::durable)[index];
  };
  const auto second = write_alone(legs[1], 1);
  size_t cuts = 0;
  for (MirrorRig::Bytes left(1); !left.empty(); ++cuts) {
    MirrorRig rig(shape, {legs[0], {}}, {.degraded = true});
    left.clear();
    std::mt19937_64 random(cuts);
    size_t events = 0;
    rig.power.on_event = [&] {
      if (events++ != cuts) return;
      left = rig.disks[0]->after_cut(VolatileDisk::Left::any, random);
    };
    ASSERT_EQ(rig.start(), "");
    rig.stop();
    const auto last = left.empty() ? rig.contents(VolatileDisk::Left::durable)[0] : left;
    MirrorRig both(shape, {write_alone(last, 0), second});
    EXPECT_THAT(both.start(), HasSubstr("were written apart"));
  }
  EXPECT_GT(cuts, 4U);
}

TEST(MirrorLegs, ALegWhoseSuperblockCannotBeReadIsLeftOut) {
  for (const bool run : {false, true}) {
    MirrorRig rig({}, {.degraded = run});
    rig.disks[1]->fails = [](const Request&) { return EIO; };
    const std::string refused = rig.start();
    if (!run) {
      EXPECT_THAT(refused, HasSubstr("cannot be read"));
      continue;
    }
    ASSERT_EQ(refused, "");
    EXPECT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
    rig.disks[1]->fails = nullptr;
    rig.make_whole();  // it comes back by itself
    EXPECT_TRUE(data_is_equal(rig));
  }
}

TEST(MirrorLegs, AReadOnlyMirrorWritesToNoLeg) {
  MirrorRig rig({}, {.prefer = 0});
  rig.disks[0]->make_read_only();
  ASSERT_EQ(rig.start(), "");
  rig.disks[0]->fails = [](const Request&) { return ENODEV; };
  EXPECT_EQ(rig.serve(Op::read, 0, kWritten), 0);
  EXPECT_EQ(rig.serve(Op::read, 0, kWritten), 0);
  rig.stop();
  EXPECT_EQ(rig.disks[1]->writes(), 0U);
}

// --- Regions that differ

// After a crash, from a leg that has a region at all, and then on all legs.
TEST(MirrorLegs, WhatTheFirstLegCannotReadAfterACrashIsReadFromAnother) {
  const MirrorShape shape;
  std::vector<MirrorRig::Bytes> crashed;
  {
    MirrorRig rig(shape);
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
    crashed = rig.contents();
  }
  MirrorRig rig(shape, crashed);
  bool is_bad = true;
  rig.disks[0]->fails = [&](const Request& request) {
    if (!is_in_data(request)) return 0;
    if (request.op == Op::write) is_bad = false;
    return request.op == Op::read && is_bad ? EIO : 0;
  };
  ASSERT_EQ(rig.start(), "");
  EXPECT_EQ(rig.serve(Op::read, 0, kWritten), 0);
  EXPECT_EQ(rig.memory(), MirrorRig::Bytes(kWritten, kData));
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
  rig.make_whole();
  EXPECT_TRUE(data_is_equal(rig));
}

// T3.1, T3.2: at any moment after it has joined, and though it is preferred.
TEST(MirrorLegs, ALegIsNotReadWhereItLacksData) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    MirrorRig rig({.data_bytes = 4 << 20}, {.prefer = 1});
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
    ASSERT_EQ(rig.control("fail(2)"), 0);
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kNewer), 0);
    ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
    for (uint64_t i = random() % 20; i != 0; --i) rig.ring.perform(random() % rig.ring.pending());
    Task& task = rig.submit(Op::read, 0, kWritten);
    while (!task.finished()) rig.ring.perform(random() % rig.ring.pending());
    EXPECT_EQ(task.status().error(), 0);
    EXPECT_EQ(rig.memory(), MirrorRig::Bytes(kWritten, kNewer));
  }
}

// T3.20
TEST(MirrorLegs, AResyncEndsAlthoughItsRegionIsWrittenAllTheTime) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0);
  ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
  ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
  int writes = 0;
  while (rig.number("legs_in_sync") < 2 && ++writes < 1000) {
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kNewer), 0);
  }
  EXPECT_LT(writes, 1000);
}

// T3.15: of a size that is no multiple of a region, with the metadata behind it or before it.
TEST(MirrorLegs, ADiscardAtTheEndChangesNothingElse) {
  for (const auto placement : {mirror::Placement::start, mirror::Placement::end}) {
    const MirrorShape shape{.data_bytes = (192 << 10) + 4096, .placement = placement};
    MirrorRig rig(shape);
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, shape.data_bytes, kData), 0);
    ASSERT_EQ(rig.serve(Op::discard, shape.data_bytes - 512, 512), 0);
    ASSERT_EQ(rig.serve(Op::write_zeroes, shape.data_bytes - 2048, 512), 0);
    EXPECT_EQ(rig.serve(Op::discard, shape.data_bytes - 512, 1024), EINVAL);
    MirrorRig::Bytes expected(shape.data_bytes, kData);
    std::fill_n(expected.end() - 512, 512, std::byte{});
    std::fill_n(expected.end() - 2048, 512, std::byte{});
    for (const auto& leg : rig.contents()) {
      EXPECT_TRUE(std::ranges::equal(rig.data_on(leg), expected));
    }
    EXPECT_EQ(rig.record(1).state(), LegState::in_sync);
  }
}

// T3.6, T3.9: a write that fails on all legs, at any moment of the copying of its region.
TEST(MirrorLegs, AWriteThatFailsDuringItsRegionsResyncLeavesNoDifference) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    MirrorRig rig({.data_bytes = 4 << 20, .region_bytes = 2 << 20});
    ASSERT_EQ(rig.start(), "");
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kData), 0);
    ASSERT_EQ(rig.control("fail(2)"), 0);
    ASSERT_EQ(rig.serve(Op::write, 0, kWritten, kNewer), 0);
    ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
    for (uint64_t i = random() % 30; i != 0; --i) rig.ring.perform(random() % rig.ring.pending());
    for (VolatileDisk* const disk : rig.disks) {
      disk->fails = [](const Request& request) {
        const bool is_the_one = is_in_data(request) && request.length == 4096;
        return is_the_one && request.op == Op::write ? EIO : 0;
      };
    }
    // Of a write that has failed, one leg has something, and the other one nothing.
    Task& task = rig.submit(Op::write, 0, 4096, std::byte{0x77});
    while (!task.finished()) rig.ring.perform(random() % rig.ring.pending());
    for (VolatileDisk* const disk : rig.disks) disk->fails = nullptr;
    rig.make_whole();
    EXPECT_TRUE(data_is_equal(rig));
  }
}

}  // namespace
}  // namespace sluice::test
