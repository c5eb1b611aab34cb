// Figures that qemu-img measure gives as well.
#include "image/measure.hpp"

#include <gtest/gtest.h>

namespace sluice::image {
namespace {

qcow2::CreateOptions sized(uint64_t bytes, uint32_t cluster_bits = 16) {
  qcow2::CreateOptions options;
  options.size_bytes = bytes;
  options.cluster_bits = cluster_bits;
  return options;
}

TEST(Measure, RawFilesHaveWholeSectors) {
  EXPECT_EQ(measure_raw(1000).required_bytes, 1024U);
  EXPECT_EQ(measure_raw(1000).fully_allocated_bytes, 1024U);
  EXPECT_EQ(measure_raw(0).required_bytes, 0U);
}

TEST(Measure, TablesCountThemselves) {
  const auto large = measure_qcow2(sized(uint64_t{10} << 30), 0);
  ASSERT_TRUE(large);
  EXPECT_EQ(large->required_bytes, 1900544U);
  EXPECT_EQ(large->fully_allocated_bytes, 10739318784U);
  const auto small = measure_qcow2(sized(1000, 12), 0);
  ASSERT_TRUE(small);
  EXPECT_EQ(small->required_bytes, 20480U);
  EXPECT_EQ(small->fully_allocated_bytes, 24576U);
}

TEST(Measure, PreallocatedSpaceIsNeededAtOnce) {
  qcow2::CreateOptions options = sized(1 << 20);
  const auto plain = measure_qcow2(options, 65536);
  options.preallocation = qcow2::Preallocation::full;
  const auto full = measure_qcow2(options, 65536);
  ASSERT_TRUE(plain && full);
  EXPECT_EQ(plain->required_bytes, plain->fully_allocated_bytes - (1 << 20) + 65536);
  EXPECT_EQ(full->required_bytes, full->fully_allocated_bytes);
  EXPECT_FALSE(measure_qcow2(sized(uint64_t{1} << 50, 9), 0)) << "too many clusters";
}

TEST(Measure, BitmapsInUseAreLeftOut) {
  const qcow2::BitmapEntry one{.granularity_bits = 16, .name = "one"};
  qcow2::BitmapEntry torn = one;
  torn.in_use = true;
  constexpr uint64_t kDisk = uint64_t{1} << 40;
  // 2 MiB of bits, a table and the directory.
  EXPECT_EQ(measure_bitmaps({{one}}, kDisk, 65536), (2U << 20) + 2 * 65536);
  EXPECT_EQ(measure_bitmaps({{one, torn}}, kDisk, 65536), (2U << 20) + 2 * 65536);
  EXPECT_EQ(measure_bitmaps({}, kDisk, 65536), 0U);
}

}  // namespace
}  // namespace sluice::image
