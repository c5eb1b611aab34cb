// The bits of a dirty bitmap, compared with a list of flags.
#include "target/qcow2/bitmap/bitmap.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>

namespace sluice::qcow2::test {
namespace {

constexpr uint32_t kBits512 = 9;

// The flags of the bits, as first_run() tells them.
std::vector<bool> flags_of(const Bitmap& bitmap, uint64_t disk_bytes) {
  std::vector<bool> flags(disk_bytes / 512);
  for (uint64_t offset = 0; offset < disk_bytes;) {
    bool dirty = false;
    const uint64_t length = bitmap.first_run(offset, disk_bytes - offset, dirty);
    if (length == 0 || length > disk_bytes - offset) return {};
    for (uint64_t at = 0; at < length; at += 512) flags[(offset + at) / 512] = dirty;
    offset += length;
  }
  return flags;
}

TEST(Qcow2Bitmap, MarksWhatARangeTouches) {
  std::mt19937_64 random(3);
  for (const uint32_t bits : {kBits512, 12U, 16U}) {
    const uint64_t disk = 512 * (random() % 3000 + 300);
    Bitmap bitmap({.granularity_bits = bits});
    ASSERT_TRUE(bitmap.resize(disk).ok());
    std::vector<bool> expected(disk / 512);
    for (int i = 0; i < 40; ++i) {
      const uint64_t offset = random() % disk;
      const uint64_t length = 1 + random() % (i % 4 == 0 ? disk : 3000);
      bitmap.mark(offset, length);
      const uint64_t end = std::min(disk, offset + length);
      const uint64_t first = offset >> bits;
      const uint64_t last = (end - 1) >> bits;
      for (uint64_t at = first << bits; at < (last + 1) << bits; at += 512) {
        if (at < disk) expected[at / 512] = true;
      }
      ASSERT_EQ(flags_of(bitmap, disk), expected) << bits << " " << i;
    }
  }
}

TEST(Qcow2Bitmap, ARunBeginsAndEndsWithinABit) {
  Bitmap bitmap({.granularity_bits = 16});
  ASSERT_TRUE(bitmap.resize(1 << 20).ok());
  bitmap.mark(70000, 1);
  bool dirty = false;
  EXPECT_EQ(bitmap.first_run(1000, 1 << 19, dirty), 65536U - 1000);
  EXPECT_FALSE(dirty);
  EXPECT_EQ(bitmap.first_run(70000, 1 << 19, dirty), 131072U - 70000);
  EXPECT_TRUE(dirty);
  EXPECT_EQ(bitmap.first_run(70000, 512, dirty), 512U);
}

TEST(Qcow2Bitmap, NewBitsAreClearAndOldOnesStay) {
  Bitmap bitmap({.granularity_bits = kBits512});
  ASSERT_TRUE(bitmap.resize(512 * 100).ok());
  bitmap.mark(512 * 99, 512);
  bitmap.mark(512 * 100, 512 * 50);  // behind the end
  ASSERT_TRUE(bitmap.resize(512 * 1000).ok());
  std::vector<bool> expected(1000);
  expected[99] = true;
  EXPECT_EQ(flags_of(bitmap, 512 * 1000), expected);
  EXPECT_TRUE(bitmap.changed());
}

TEST(Qcow2Bitmap, BitsBehindTheEndThatWereLoadedAreCleared) {
  Bitmap bitmap({.granularity_bits = kBits512});
  ASSERT_TRUE(bitmap.resize(512 * 3).ok());
  std::ranges::fill(bitmap.bytes(), std::byte{0xff});
  bitmap.trim();
  EXPECT_EQ(bitmap.bytes()[0], std::byte{7});
  ASSERT_TRUE(bitmap.resize(512 * 9).ok());
  EXPECT_EQ(bitmap.bytes()[0], std::byte{7});
}

TEST(Qcow2Bitmap, TellsWhetherABitHasChanged) {
  Bitmap bitmap({.granularity_bits = kBits512});
  ASSERT_TRUE(bitmap.resize(512 * 64).ok());
  bitmap.mark(0, 512);
  bitmap.set_changed(false);
  bitmap.mark(0, 512);
  EXPECT_FALSE(bitmap.changed());
  bitmap.mark(0, 513);
  EXPECT_TRUE(bitmap.changed());
}

TEST(Qcow2Bitmap, HasALimit) {
  Bitmap bitmap({.granularity_bits = kBits512});
  EXPECT_EQ(bitmap.resize((kBitmapBytesMax * 8 + 1) * 512).error(), EFBIG);
  EXPECT_TRUE(bitmap.inconsistent());
}

}  // namespace
}  // namespace sluice::qcow2::test
