#include "persistent/salvage.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/persistent/memory_blocks.hpp"

namespace sluice::persistent::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

// Of the kernel, with a metadata snapshot.
constexpr size_t kSalvagedBlocks = 512;

uint64_t mapped_of(const Salvage& salvage) {
  uint64_t mapped = 0;
  for (const ThinDevice& device : salvage.devices) mapped += device.details.mapped_blocks;
  return mapped;
}

TEST(ThinSalvage, WhatIsWholeIsKeptAsItIs) {
  MemoryBlocks disk(golden("kernel.txt", kSalvagedBlocks));
  const auto superblock = load_superblock(disk);
  const auto devices = read_devices(disk, *superblock);
  const auto salvage = find_salvage(disk, {}, {});
  ASSERT_TRUE(salvage) << salvage.error().text;
  EXPECT_TRUE(salvage->sentences.empty());
  EXPECT_EQ(salvage->time, superblock->time);
  EXPECT_EQ(salvage->transaction_id, superblock->transaction_id);
  EXPECT_EQ(salvage->data_blocks, superblock->data_space_map.blocks);
  ASSERT_EQ(salvage->devices.size(), devices->size());
  for (size_t i = 0; i < devices->size(); ++i) {
    EXPECT_EQ(salvage->devices[i].details, (*devices)[i].details);
  }
}

// The metadata snapshot says what the superblock did. Whether there are younger snapshots than in
// the details that are found, nobody knows: all of it is shared.
TEST(ThinSalvage, FactsAreTakenFromAMetadataSnapshot) {
  MemoryBlocks disk(golden("kernel.txt", kSalvagedBlocks));
  const auto superblock = load_superblock(disk);
  const auto snapshot = load_snapshot(disk, *superblock);
  std::ranges::fill(disk.at(0), std::byte{});
  const auto salvage = find_salvage(disk, {.transaction_id = 5, .data_blocks = 4096}, {});
  ASSERT_TRUE(salvage) << salvage.error().text;
  EXPECT_THAT(salvage->sentences, Contains(HasSubstr("a copy of the superblock")));
  EXPECT_EQ(salvage->data_block_sectors, snapshot->data_block_sectors);
  EXPECT_EQ(salvage->data_blocks, 4096);
  EXPECT_EQ(salvage->transaction_id, 5);
  ASSERT_FALSE(salvage->devices.empty());
  for (const ThinDevice& device : salvage->devices) {
    EXPECT_EQ(device.details.snapshotted_time, salvage->time);
  }
}

TEST(ThinSalvage, ABlockThatCannotBeReadIsAllThatIsLost) {
  MemoryBlocks disk(golden("kernel.txt", kSalvagedBlocks));
  const auto whole = find_salvage(disk, {}, {});
  const ThinDevice& first = whole->devices.front();
  disk.unreadable = first.root;
  const auto salvage = find_salvage(disk, {}, {});
  ASSERT_TRUE(salvage) << salvage.error().text;
  EXPECT_EQ(salvage->devices.size(), whole->devices.size());
  EXPECT_LT(mapped_of(*salvage), mapped_of(*whole));
  EXPECT_EQ(salvage->devices.front().details.mapped_blocks, 0);
  EXPECT_THAT(salvage->sentences,
              Contains(fmt::format("0 of the {} mappings of device {} can be read",
                                   first.details.mapped_blocks, first.id)));
}

TEST(ThinSalvage, WithoutTreesThereIsNothing) {
  MemoryBlocks disk(std::vector<std::byte>(64 * kBlockBytes));
  EXPECT_EQ(find_salvage(disk, {.data_block_sectors = 128}, {}).error().error, EINVAL);
}

}  // namespace
}  // namespace sluice::persistent::test
