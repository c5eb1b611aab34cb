// The geometry of a parent of two children (P-21).
#include "core/geometry.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

TEST(Geometry, TheSmallerSizeHolds) {
  EXPECT_EQ(combine({.size_bytes = 1 << 20}, {.size_bytes = 1 << 30}).size_bytes, 1U << 20);
  EXPECT_EQ(combine({.size_bytes = 1 << 30}, {.size_bytes = 1 << 20}).size_bytes, 1U << 20);
}

TEST(Geometry, TheLargerBlocksHold) {
  const Geometry both = combine({.logical_block_bytes = 512, .physical_block_bytes = 16384},
                                {.logical_block_bytes = 4096, .physical_block_bytes = 4096});
  EXPECT_EQ(both.logical_block_bytes, 4096U);
  EXPECT_EQ(both.physical_block_bytes, 16384U);
}

TEST(Geometry, TheLargerPreferencesHold) {
  const Geometry both = combine({.io_min_bytes = 4096, .io_opt_bytes = 0},
                                {.io_min_bytes = 512, .io_opt_bytes = 65536});
  EXPECT_EQ(both.io_min_bytes, 4096U);
  EXPECT_EQ(both.io_opt_bytes, 65536U);
}

TEST(Geometry, TheStricterMemoryAlignmentHolds) {
  EXPECT_EQ(combine({.memory_alignment_bytes = 4}, {.memory_alignment_bytes = 512})
                .memory_alignment_bytes,
            512U);
}

TEST(Geometry, TheTighterSegmentLimitsHold) {
  const Geometry both = combine({.max_segments = 128, .max_segment_bytes = 4096},
                                {.max_segments = 64, .max_segment_bytes = 65536});
  EXPECT_EQ(both.max_segments, 64U);
  EXPECT_EQ(both.max_segment_bytes, 4096U);
}

TEST(Geometry, NoLimitIsLooserThanAnyLimit) {
  EXPECT_EQ(combine({.max_segments = 0}, {.max_segments = 64}).max_segments, 64U);
  EXPECT_EQ(combine({.max_segment_bytes = 64}, {.max_segment_bytes = 0}).max_segment_bytes, 64U);
  EXPECT_EQ(combine({}, {}).max_segments, 0U);
}

TEST(Geometry, LengthLimitsAreLeftToEachChildsOwnDoor) {
  const Geometry child{.max_io_bytes = 65536, .max_discard_bytes = 1 << 20};
  const Geometry both = combine(child, child);
  EXPECT_EQ(both.max_io_bytes, 0U);
  EXPECT_EQ(both.max_discard_bytes, 0U);
}

TEST(Geometry, TheCoarserDiscardGranularityHolds) {
  EXPECT_EQ(combine({.discard_granularity_bytes = 4096}, {.discard_granularity_bytes = 65536})
                .discard_granularity_bytes,
            65536U);
}

TEST(Geometry, DiscardsOnlyWhereBothCan) {
  EXPECT_TRUE(combine({.can_discard = true}, {.can_discard = true}).can_discard);
  EXPECT_FALSE(combine({.can_discard = true}, {.can_discard = false}).can_discard);
}

TEST(Geometry, WhatADoorEmulatesIsAlwaysOffered) {
  const Geometry both = combine({.can_write_zeroes = false, .can_fua = false}, {});
  EXPECT_TRUE(both.can_write_zeroes);
  EXPECT_TRUE(both.can_fua);
}

TEST(Geometry, WhatOneChildIsTheParentIs) {
  const Geometry special{
      .volatile_cache = true, .read_only = true, .rotational = true, .needs_bytes = true};
  for (const Geometry& both : {combine(special, {}), combine({}, special)}) {
    EXPECT_TRUE(both.volatile_cache);
    EXPECT_TRUE(both.read_only);
    EXPECT_TRUE(both.rotational);
    EXPECT_TRUE(both.needs_bytes);
  }
}

TEST(Geometry, WhatNeitherChildIsTheParentIsNot) {
  const Geometry both = combine({}, {});
  EXPECT_FALSE(both.volatile_cache);
  EXPECT_FALSE(both.read_only);
  EXPECT_FALSE(both.rotational);
  EXPECT_FALSE(both.needs_bytes);
}

TEST(Geometry, ItDoesNotMatterWhichChildIsFirst) {
  const Geometry one{.size_bytes = 10, .memory_alignment_bytes = 512, .max_segments = 3};
  const Geometry other{.size_bytes = 20, .memory_alignment_bytes = 4, .max_segment_bytes = 7};
  const Geometry there = combine(one, other);
  const Geometry back = combine(other, one);
  EXPECT_EQ(there.size_bytes, back.size_bytes);
  EXPECT_EQ(there.memory_alignment_bytes, back.memory_alignment_bytes);
  EXPECT_EQ(there.max_segments, back.max_segments);
  EXPECT_EQ(there.max_segment_bytes, back.max_segment_bytes);
}

}  // namespace
}  // namespace sluice::test
