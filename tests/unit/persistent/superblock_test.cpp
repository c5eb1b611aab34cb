#include "persistent/superblock.hpp"

#include <gtest/gtest.h>

#include "core/little_endian.hpp"
#include "unit/persistent/golden.hpp"

namespace sluice::persistent::test {
namespace {

constexpr size_t kGoldenBlocks = 32;

// As `thin_restore` wrote it.
Superblock golden_superblock() {
  return {.time = 1,
          .transaction_id = 3,
          .data_space_map = {.blocks = 10000, .allocated = 6, .index = 4, .counts = 5},
          .metadata_space_map = {.blocks = 32, .allocated = 12, .index = 1, .counts = 2},
          .mapping_root = 7,
          .device_root = 6,
          .data_block_sectors = 128,
          .metadata_blocks = 32};
}

std::vector<std::byte> changed(size_t place, uint32_t number, bool sealed = true) {
  std::vector<std::byte> image = golden("two_devices.txt", kGoldenBlocks);
  store_little_endian(std::span(image), place, number);
  if (sealed) seal(BlockKind::superblock, 0, block_of(image, 0));
  return image;
}

int error_of(const std::vector<std::byte>& image) {
  const auto found = read_superblock(block_of(image, 0));
  return found ? 0 : found.error().error;
}

TEST(ThinSuperblock, OfAnotherProgramIsReadAndWrittenAgainUnchanged) {
  const std::vector<std::byte> image = golden("two_devices.txt", kGoldenBlocks);
  const auto found = read_superblock(block_of(image, 0));
  ASSERT_TRUE(found) << found.error().text;
  EXPECT_EQ(*found, golden_superblock());
  std::vector<std::byte> again(kBlockBytes);
  write_superblock(*found, block_of(again, 0));
  EXPECT_TRUE(std::ranges::equal(block_of(again, 0), block_of(image, 0)));
}

TEST(ThinSuperblock, AllFieldsSurvive) {
  Superblock superblock = golden_superblock();
  superblock.flags = Superblock::kNeedsCheck;
  superblock.uuid.fill(std::byte{7});
  superblock.metadata_snapshot = 9;
  superblock.compatible = 1;
  superblock.read_only_compatible = 2;
  std::vector<std::byte> bytes(kBlockBytes);
  write_superblock(superblock, block_of(bytes, 0), 9);
  const auto found = read_superblock(block_of(bytes, 0), 9);
  ASSERT_TRUE(found) << found.error().text;
  EXPECT_EQ(*found, superblock);
  EXPECT_TRUE(found->needs_check());
  EXPECT_FALSE(read_superblock(block_of(bytes, 0), 0)) << "it belongs at block 9";
}

TEST(ThinSuperblock, WhatIsNoSuperblockIsRefused) {
  EXPECT_EQ(error_of(std::vector<std::byte>(kBlockBytes)), EINVAL);
  EXPECT_EQ(error_of(changed(32, 1)), EINVAL) << "the magic";
}

TEST(ThinSuperblock, DamageIsRefused) {
  EXPECT_EQ(error_of(changed(500, 1, false)), EILSEQ);
  EXPECT_EQ(error_of(changed(336, 0)), EILSEQ) << "no data block size";
  EXPECT_EQ(error_of(changed(336, 100)), EILSEQ);
}

TEST(ThinSuperblock, WhatThisProgramDoesNotKnowIsRefused) {
  EXPECT_EQ(error_of(changed(40, 3)), EOPNOTSUPP) << "the version";
  EXPECT_EQ(error_of(changed(340, 16)), EOPNOTSUPP) << "the size of metadata blocks";
  EXPECT_EQ(error_of(changed(360, 1)), EOPNOTSUPP) << "a feature";
  EXPECT_EQ(error_of(changed(352, 1)), 0) << "a feature that may be unknown";
}

TEST(ThinSuperblock, AMappingHas40BitsOfABlockAnd24OfTheTime) {
  const Mapping most{.data_block = kDataBlocksMost - 1, .time = kTimeMost};
  EXPECT_EQ(most.value(), UINT64_MAX);
  EXPECT_EQ(Mapping::from(UINT64_MAX), most);
  EXPECT_EQ(Mapping::from(0x1000002), (Mapping{.data_block = 1, .time = 2}));
}

}  // namespace
}  // namespace sluice::persistent::test
