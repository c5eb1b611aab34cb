// Repairs, and what they leave alone.
#include "target/qcow2/offline/repair.hpp"

#include <gmock/gmock.h>

#include "unit/target/qcow2/offline/memory_image.hpp"

namespace sluice::qcow2::test {
namespace {

CheckResult repair(const MemoryImage& image, Repair what) {
  const auto repaired = repair_image(image.descriptor(), what);
  EXPECT_TRUE(repaired) << repaired.error().text;
  return repaired.value_or(CheckResult{});
}

TEST(Qcow2Repair, ASoundImageIsNotWritten) {
  const MemoryImage image(small_and_full());
  const auto before = image.all();
  EXPECT_TRUE(repair(image, Repair::all).clean());
  EXPECT_EQ(image.all(), before);
}

TEST(Qcow2Repair, RefcountsAreCorrectedInPlace) {
  for (uint32_t order = 0; order <= 6; ++order) {
    CreateOptions options = small_and_full();
    options.refcount_order = order;
    const MemoryImage image(options);
    const auto before = image.all();
    for (const uint64_t each : {0U, 5U, 6U, 100U, 900U}) {
      image.set_refcount(image.host_cluster(each), 0);
    }
    image.set_refcount(0, 0);
    const CheckResult result = repair(image, Repair::all);
    EXPECT_TRUE(result.clean()) << order << testing::PrintToString(result.sentences);
    EXPECT_GE(result.corruptions_fixed, 6U);
    EXPECT_EQ(image.all(), before) << order;
  }
}

TEST(Qcow2Repair, LeaksLeaveLowRefcountsAlone) {
  const MemoryImage image(small_and_full());
  image.set_refcount(image.host_cluster(7), 0);
  image.set_refcount(image.host_cluster(8), 2);
  const CheckResult result = repair(image, Repair::leaks);
  EXPECT_EQ(result.leaks, 0U);
  EXPECT_EQ(result.corruptions, 2U);
  EXPECT_EQ(image.refcount(image.host_cluster(7)), 0U);
  EXPECT_EQ(image.refcount(image.host_cluster(8)), 1U);
}

// What the lost table refers to is still there, and must not be overwritten.
TEST(Qcow2Repair, NothingIsLoweredWhileATableIsMissing) {
  for (const auto what : {Repair::leaks, Repair::all}) {
    const MemoryImage image(small_and_full());
    const uint64_t cluster = image.host_cluster(7);
    image.set_number(image.l1_place(0), uint64_t{1} << 40);
    const CheckResult result = repair(image, what);
    EXPECT_GE(result.corruptions, 1U);
    EXPECT_GE(result.leaks, 1U);
    EXPECT_EQ(image.refcount(cluster), 1U);
  }
}

// T4.18
TEST(Qcow2Repair, LostRefcountsAreBuiltAnew) {
  for (const uint32_t order : {0U, 4U, 6U}) {
    CreateOptions options = small_and_full();
    options.refcount_order = order;
    const MemoryImage image(options);
    image.set_number(image.block_place(image.host_cluster(900)), 0);
    const auto leaks_only = image.all();
    EXPECT_FALSE(repair(image, Repair::leaks).clean());
    EXPECT_EQ(image.all(), leaks_only);
    const CheckResult result = repair(image, Repair::all);
    EXPECT_TRUE(result.clean()) << testing::PrintToString(result.sentences);
    const auto header = read_image_header(image.descriptor());
    EXPECT_GT(header->refcount_table_offset, image.header.refcount_table_offset);
  }
}

// The file becomes longer: an entry that pointed behind its end does not point to the new
// refcounts.
TEST(Qcow2Repair, NewRefcountsAreNotWhereAnEntryPoints) {
  const MemoryImage image(small_and_full());
  const uint64_t end = image.size() / image.header.cluster_bytes();
  for (const uint64_t ahead : {1U, 2U, 4U}) {
    image.set_number(image.l2_place(ahead), (end + ahead) * image.header.cluster_bytes());
  }
  image.set_number(image.block_place(image.host_cluster(900)), 0);
  EXPECT_TRUE(repair(image, Repair::all).clean());
  for (const uint64_t ahead : {1U, 2U, 4U}) {
    EXPECT_EQ(image.host_cluster(ahead), end + ahead);
  }
}

TEST(Qcow2Repair, ABlockAmongDataIsReplaced) {
  const MemoryImage image(small_and_full());
  const uint64_t cluster = image.host_cluster(900);
  image.set_number(image.block_place(cluster), cluster * image.header.cluster_bytes());
  EXPECT_TRUE(repair(image, Repair::all).clean());
  EXPECT_EQ(image.host_cluster(900), cluster);
}

// A refcount of one bit cannot count the block that lies on the data. The data keeps its cluster.
TEST(Qcow2Repair, NarrowRefcountsLoseNoReference) {
  CreateOptions options = small_and_full();
  options.refcount_order = 0;
  options.size_bytes = 256 << 20;
  const MemoryImage image(options);
  const uint64_t cluster = image.host_cluster(60000);
  image.set_number(image.block_place(cluster), cluster * image.header.cluster_bytes());
  EXPECT_TRUE(repair(image, Repair::all).clean());
  EXPECT_EQ(image.host_cluster(60000), cluster);
}

TEST(Qcow2Repair, TheDirtyBitGoesLast) {
  const MemoryImage image(small_and_full());
  image.set_number(kFeaturesPlace, kDirty | kCorrupt);
  image.set_number(image.l2_place(3), 1ULL << 50);  // not to be repaired
  EXPECT_GE(repair(image, Repair::all).corruptions, 1U);
  EXPECT_EQ(image.number(kFeaturesPlace), kDirty | kCorrupt);
  image.set_number(image.l2_place(3), 0);
  EXPECT_EQ(repair(image, Repair::all).corruptions, 0U);
  EXPECT_EQ(image.number(kFeaturesPlace), 0U);
}

TEST(Qcow2Repair, FlagsAreCorrected) {
  const MemoryImage image(small_and_full());
  const auto before = image.all();
  for (const uint64_t each : {0U, 1U, 600U}) {
    image.set_number(image.l2_place(each), image.number(image.l2_place(each)) & ~kCopied);
  }
  image.set_number(image.l1_place(1), image.number(image.l1_place(1)) & ~kCopied);
  EXPECT_TRUE(repair(image, Repair::all).clean());
  EXPECT_EQ(image.all(), before);
  // Two entries for one cluster: neither may be written in place.
  image.set_number(image.l2_place(5), image.number(image.l2_place(6)));
  EXPECT_TRUE(repair(image, Repair::all).clean());
  EXPECT_EQ(image.number(image.l2_place(5)) & kCopied, 0U);
  EXPECT_EQ(image.number(image.l2_place(6)) & kCopied, 0U);
  EXPECT_EQ(image.refcount(image.host_cluster(6)), 2U);
}

// An L2 table that is also a refcount block stays as it is.
TEST(Qcow2Repair, OverlapsAreNotRepaired) {
  const MemoryImage image(small_and_full());
  image.set_number(image.l2_place(5), image.header.l1_offset | kCopied);
  const CheckResult result = repair(image, Repair::all);
  EXPECT_GE(result.corruptions, 1U);
  EXPECT_EQ(image.number(image.l1_place(0)) & kOffsetMask, image.l2_place(0) & kOffsetMask);
}

}  // namespace
}  // namespace sluice::qcow2::test
