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

// --- Regions that differ

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
