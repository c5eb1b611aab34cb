// Regions: a write makes its regions dirty; only a region that has rested becomes clean.
#include "target/mirror/regions.hpp"

#include <gtest/gtest.h>

namespace sluice::mirror {
namespace {

constexpr uint64_t kRegion = 64 << 10;

TEST(MirrorRegions, TheLastRegionMayBeShort) {
  const Regions regions(10 * kRegion + 512, kRegion, 11);
  EXPECT_EQ(regions.count(), 11U);
  EXPECT_EQ(regions.region_of(kRegion - 1), 0U);
  EXPECT_EQ(regions.last_of(kRegion - 1, 1), 0U);
  EXPECT_EQ(regions.last_of(kRegion - 1, 2), 1U);
  EXPECT_EQ(regions.begin_of(10), 10 * kRegion);
}

TEST(MirrorRegions, AWriteIsDurablyMarkedOnlyIfAllOfItsRegionsAre) {
  Regions regions(4 * kRegion, kRegion, 4);
  EXPECT_FALSE(regions.begin_write(0, 1));
  regions.note_durable(0);
  EXPECT_FALSE(regions.begin_write(0, 1));
  regions.note_durable(1);
  EXPECT_TRUE(regions.begin_write(0, 1));
  EXPECT_FALSE(regions.begin_write(1, 2));
  EXPECT_EQ(regions.dirty(), 3U);
}

TEST(MirrorRegions, ARegionRestsWhenNoWriteHasComeSinceAndNoneIsInFlight) {
  Regions regions(2 * kRegion, kRegion, 2);
  EXPECT_FALSE(regions.rest(0)) << "it is clean";
  regions.begin_write(0, 0);
  regions.note_durable(0);
  EXPECT_FALSE(regions.rest(0)) << "it was written since";
  EXPECT_FALSE(regions.rest(0)) << "a write is in flight";
  regions.end_write(0, 0);
  EXPECT_TRUE(regions.rest(0));
}

// T3.8
TEST(MirrorRegions, AWriteThatComesBeforeItIsClearedKeepsItDirty) {
  Regions regions(kRegion, kRegion, 1);
  regions.begin_write(0, 0);
  regions.note_durable(0);
  regions.end_write(0, 0);
  ASSERT_FALSE(regions.rest(0));
  ASSERT_TRUE(regions.rest(0));
  EXPECT_TRUE(regions.begin_write(0, 0));
  EXPECT_FALSE(regions.clear(0)) << "while it is written";
  regions.end_write(0, 0);
  EXPECT_FALSE(regions.clear(0)) << "it was written since";
  ASSERT_TRUE(regions.is_dirty(0));
  regions.rest(0);
  EXPECT_TRUE(regions.clear(0));
  EXPECT_FALSE(regions.is_dirty(0));
  EXPECT_FALSE(regions.begin_write(0, 0)) << "the mark has to be made durable again";
}

}  // namespace
}  // namespace sluice::mirror
