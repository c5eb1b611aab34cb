#include "target/qcow2/offline/reference_map.hpp"

#include <gtest/gtest.h>

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kMapCluster = 4096;

ReferenceMap map_of(uint64_t file_bytes, uint32_t refcount_order = 4) {
  Header header;
  header.cluster_bits = 12;
  header.refcount_order = refcount_order;
  return {header, file_bytes};
}

TEST(ReferenceMap, ARangeCountsAllThatItTouches) {
  ReferenceMap map = map_of(100 * kMapCluster);
  EXPECT_TRUE(map.add(3 * kMapCluster - 1, 2, kUseData));
  EXPECT_TRUE(map.add(3 * kMapCluster, kMapCluster, kUseData, 5));
  EXPECT_EQ(map.at(1).count, 0U);
  EXPECT_EQ(map.at(2).count, 1U);
  EXPECT_EQ(map.at(3).count, 6U);
  EXPECT_EQ(map.at(4).count, 0U);
  map.remove(2 * kMapCluster, 2 * kMapCluster);
  EXPECT_EQ(map.at(2).count, 0U);
  EXPECT_EQ(map.at(3).count, 5U);
}

TEST(ReferenceMap, TheLastClusterMayBeCutOff) {
  ReferenceMap map = map_of(10 * kMapCluster + 512);
  EXPECT_EQ(map.clusters(), 11U);
  EXPECT_TRUE(map.add(10 * kMapCluster, kMapCluster, kUseData));
  EXPECT_FALSE(map.add(11 * kMapCluster, kMapCluster, kUseData));
  EXPECT_FALSE(map.add(0, UINT64_MAX, kUseData));
  EXPECT_FALSE(map.add(UINT64_MAX, 1, kUseData));
  EXPECT_EQ(map.at(11).count, 0U);
}

TEST(ReferenceMap, OverflowsAreCountedOnce) {
  ReferenceMap map = map_of(10 * kMapCluster, 1);  // up to 3
  EXPECT_EQ(map.add(0, 1, kUseData, 2)->overflows, 0U);
  EXPECT_EQ(map.add(0, 1, kUseData, 3)->overflows, 2U);
  EXPECT_EQ(map.add(0, 1, kUseData, 1)->overflows, 1U);
  EXPECT_EQ(map.at(0).count, 6U);
  EXPECT_EQ(map.wanted(map.at(0)), 3U);
}

TEST(ReferenceMap, UsesThatExcludeEachOtherOverlap) {
  ReferenceMap map = map_of(100 * kMapCluster);
  map.add(0, 1, kUseData, 2);
  map.add(kMapCluster, 1, kUseL2, 2);
  map.add(2 * kMapCluster, 1, kUseMetadata);
  for (const uint64_t each : {0U, 1U, 2U}) EXPECT_FALSE(map.at(each).overlaps()) << each;
  map.add(kMapCluster, 1, kUseData);
  map.add(2 * kMapCluster, 1, kUseMetadata);
  EXPECT_TRUE(map.at(1).overlaps());
  EXPECT_TRUE(map.at(2).overlaps());
}

}  // namespace
}  // namespace sluice::qcow2::test
