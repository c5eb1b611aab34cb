#include "persistent/space_map_format.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "unit/persistent/golden.hpp"

namespace sluice::persistent::test {
namespace {

TEST(ThinSpaceMapFormat, OfAnotherProgramIsRead) {
  const std::vector<std::byte> image = golden("two_devices.txt", 32);
  ASSERT_TRUE(verify(BlockKind::index, 1, block_of(image, 1)));
  const IndexEntry entry = index_entry(block_of(image, 1), 0);
  ASSERT_LT(entry.bitmap, 32);
  const ConstBlock metadata = block_of(image, entry.bitmap);
  ASSERT_TRUE(verify(BlockKind::bitmap, entry.bitmap, metadata));
  EXPECT_EQ(bitmap_count(metadata, 0), 1);
  EXPECT_EQ(bitmap_count(metadata, 31), 0);
  EXPECT_FALSE(verify(BlockKind::bitmap, 1, block_of(image, 1)));
}

TEST(ThinSpaceMapFormat, CountsAreApart) {
  std::vector<std::byte> bytes(kBlockBytes);
  const Block bitmap = block_of(bytes, 0);
  std::vector<uint32_t> expected(kBlocksOfBitmap);
  std::mt19937_64 random(2);
  for (uint32_t& count : expected) {
    count = static_cast<uint32_t>(random() % 4);
    set_bitmap_count(bitmap, static_cast<uint32_t>(&count - expected.data()), count);
  }
  for (uint32_t i = 0; i < kBlocksOfBitmap; ++i) EXPECT_EQ(bitmap_count(bitmap, i), expected[i]);
  for (uint32_t begin = 0; begin < 200; ++begin) {
    const auto wanted = std::find(expected.begin() + begin, expected.end(), 0) - expected.begin();
    EXPECT_EQ(find_free(bitmap, begin, kBlocksOfBitmap), wanted);
  }
}

// As the kernel has them: the first bit is the higher one.
TEST(ThinSpaceMapFormat, TheOrderOfTheBits) {
  std::vector<std::byte> bytes(kBlockBytes);
  set_bitmap_count(block_of(bytes, 0), 0, 1);
  set_bitmap_count(block_of(bytes, 0), 1, 2);
  set_bitmap_count(block_of(bytes, 0), 4, 3);
  EXPECT_EQ(bytes[16], std::byte{0b0110});
  EXPECT_EQ(bytes[17], std::byte{0b11});
}

TEST(ThinSpaceMapFormat, WhereNothingIsFreeNothingIsFound) {
  std::vector<std::byte> bytes(kBlockBytes, std::byte{0xff});
  EXPECT_EQ(find_free(block_of(bytes, 0), 0, kBlocksOfBitmap), std::nullopt);
  set_bitmap_count(block_of(bytes, 0), 9000, 0);
  EXPECT_EQ(find_free(block_of(bytes, 0), 5, kBlocksOfBitmap), 9000);
  EXPECT_EQ(find_free(block_of(bytes, 0), 9001, kBlocksOfBitmap), std::nullopt);
  EXPECT_EQ(find_free(block_of(bytes, 0), 5, 9000), std::nullopt);
}

TEST(ThinSpaceMapFormat, RootsAndIndexEntriesSurvive) {
  std::vector<std::byte> bytes(kBlockBytes);
  const SpaceMapRoot root{.blocks = 1, .allocated = 2, .index = 3, .counts = UINT64_MAX};
  store(root, std::span(bytes).first<SpaceMapRoot::kBytes>());
  EXPECT_EQ(load_space_map_root(std::span(bytes).first<SpaceMapRoot::kBytes>()), root);
  const IndexEntry entry{.bitmap = 7, .free = 5, .none_free_before = UINT32_MAX};
  set_index_entry(block_of(bytes, 0), 254, entry);
  EXPECT_EQ(index_entry(block_of(bytes, 0), 254), entry);
  EXPECT_EQ((SpaceMapRoot{.blocks = kBlocksOfBitmap}.bitmaps()), 1);
  EXPECT_EQ((SpaceMapRoot{.blocks = kBlocksOfBitmap + 1}.bitmaps()), 2);
}

}  // namespace
}  // namespace sluice::persistent::test
