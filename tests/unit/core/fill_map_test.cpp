#include "core/fill_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "unit/core/allocations.hpp"

namespace sluice::test {
namespace {

TEST(FillMap, CoversNothingAtFirst) {
  FillMap map;
  EXPECT_EQ(map.filled_bytes(), 0U);
  EXPECT_FALSE(map.covers(0, 1));
}

TEST(FillMap, AlwaysCoversNoBytes) { EXPECT_TRUE(FillMap().covers(7, 7)); }

TEST(FillMap, AddingNothingChangesNothing) {
  FillMap map;
  map.add(5, 5);
  EXPECT_EQ(map.filled_bytes(), 0U);
  EXPECT_FALSE(map.covers(5, 6));
}

TEST(FillMap, CoversExactlyWhatWasAdded) {
  FillMap map;
  map.add(10, 20);
  EXPECT_TRUE(map.covers(10, 20));
  EXPECT_TRUE(map.covers(12, 15));
  EXPECT_FALSE(map.covers(9, 20));
  EXPECT_FALSE(map.covers(10, 21));
}

TEST(FillMap, CountsOverlappingFillsOnce) {
  FillMap map;
  map.add(0, 10);
  map.add(5, 15);
  map.add(0, 10);
  EXPECT_EQ(map.filled_bytes(), 15U);
}

TEST(FillMap, AGapIsNotCovered) {
  FillMap map;
  map.add(0, 10);
  map.add(11, 20);
  EXPECT_FALSE(map.covers(0, 20));
  EXPECT_EQ(map.filled_bytes(), 19U);
}

TEST(FillMap, NeighboursBecomeOne) {
  FillMap map;
  map.add(20, 30);
  map.add(0, 10);
  map.add(10, 20);
  EXPECT_TRUE(map.covers(0, 30));
}

TEST(FillMap, OneFillMayJoinMany) {
  FillMap map;
  for (uint32_t i = 0; i < 10; ++i) map.add(i * 10, i * 10 + 2);
  map.add(1, 95);
  EXPECT_TRUE(map.covers(0, 95));
  EXPECT_EQ(map.filled_bytes(), 95U);
}

TEST(FillMap, ReachesTheLargestOffset) {
  FillMap map;
  map.add(UINT32_MAX - 1, UINT32_MAX);
  EXPECT_TRUE(map.covers(UINT32_MAX - 1, UINT32_MAX));
  map.add(0, UINT32_MAX);
  EXPECT_EQ(map.filled_bytes(), UINT32_MAX);
}

TEST(FillMap, ForgetsEverythingWhenCleared) {
  FillMap map;
  map.add(0, 10);
  map.clear();
  EXPECT_FALSE(map.covers(0, 1));
  EXPECT_EQ(map.filled_bytes(), 0U);
}

TEST(FillMap, NeedsNoMoreMemoryForAFewPiecesOnceItHadOne) {
  FillMap map;
  map.add(0, 1);
  map.clear();
  const uint64_t before = allocations();
  for (uint32_t i = 0; i < 8; ++i) map.add(i * 10, i * 10 + 5);
  EXPECT_EQ(allocations(), before);
}

class FillMapOracle : public testing::TestWithParam<uint32_t> {};

// Compared with one bool per byte.
TEST_P(FillMapOracle, AgreesWithABitmap) {
  constexpr uint32_t kBytes = 300;
  std::mt19937 random(GetParam());
  FillMap map;
  std::vector<bool> bits(kBytes);
  for (int step = 0; step < 400; ++step) {
    const uint32_t begin = static_cast<uint32_t>(random()) % kBytes;
    const uint32_t end = std::min<uint32_t>(kBytes, begin + static_cast<uint32_t>(random()) % 12);
    map.add(begin, end);
    std::fill(bits.begin() + begin, bits.begin() + end, true);
    ASSERT_EQ(map.filled_bytes(), std::count(bits.begin(), bits.end(), true));

    const uint32_t from = static_cast<uint32_t>(random()) % kBytes;
    const uint32_t to = std::min<uint32_t>(kBytes, from + static_cast<uint32_t>(random()) % 40);
    const bool all = std::all_of(bits.begin() + from, bits.begin() + to, [](bool b) { return b; });
    ASSERT_EQ(map.covers(from, to), all) << from << " to " << to;
    if (random() % 100 == 0) {
      map.clear();
      bits.assign(kBytes, false);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, FillMapOracle, testing::Range(1U, 11U));

}  // namespace
}  // namespace sluice::test
