#include "persistent/check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/little_endian.hpp"
#include "persistent/devices.hpp"
#include "persistent/node.hpp"
#include "unit/persistent/memory_blocks.hpp"

namespace sluice::persistent::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The blocks of the golden image.
constexpr uint64_t kMetadataIndex = 1;
constexpr uint64_t kMetadataBitmap = 3;
constexpr uint64_t kDeviceTree = 6;
constexpr uint64_t kMappingTree = 7;
constexpr uint64_t kDataBitmap = 9;

CheckResult check_of(MemoryBlocks& blocks) {
  const auto result = check(blocks, {});
  EXPECT_TRUE(result) << result.error().text;
  return result ? *result : CheckResult{};
}

MemoryBlocks golden_pool() { return MemoryBlocks(golden("two_devices.txt", 32)); }

TEST(ThinCheck, APoolOfAnotherProgramIsClean) {
  MemoryBlocks blocks = golden_pool();
  uint64_t done = 0;
  const auto result = check(blocks, [&](uint64_t now, uint64_t) { done = now; });
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_THAT(result->sentences, IsEmpty());
  EXPECT_TRUE(result->clean());
  EXPECT_EQ(result->devices, 2);
  EXPECT_EQ(result->mapped_blocks, 10);
  EXPECT_EQ(result->used_data_blocks, 6);
  EXPECT_EQ(result->used_metadata_blocks, 11);
  EXPECT_EQ(done, 11);
}

// With snapshots, whose trees share nodes, and a metadata snapshot (T6.20).
TEST(ThinCheck, APoolOfTheKernelIsClean) {
  MemoryBlocks blocks(golden("kernel.txt", 512));
  const CheckResult result = check_of(blocks);
  EXPECT_THAT(result.sentences, IsEmpty());
  EXPECT_EQ(result.devices, 3);
  EXPECT_EQ(result.mapped_blocks, 78);
  EXPECT_EQ(result.used_data_blocks, 29);
  EXPECT_EQ(result.used_metadata_blocks, 15);
  const auto superblock = load_superblock(blocks);
  const auto snapshot = load_snapshot(blocks, *superblock);
  ASSERT_TRUE(snapshot) << snapshot.error().text;
  EXPECT_EQ(read_devices(blocks, *superblock)->size(), 3);
  EXPECT_EQ(read_devices(blocks, *snapshot)->size(), 4);
}

TEST(ThinCheck, CountsThatAreTooHighAreLeaks) {
  MemoryBlocks blocks = golden_pool();
  for (const uint32_t block : {500U, 501U, 502U, 600U}) {
    set_bitmap_count(blocks.at(kDataBitmap), block, 2);
  }
  seal(BlockKind::bitmap, kDataBitmap, blocks.at(kDataBitmap));
  const CheckResult result = check_of(blocks);
  EXPECT_EQ(result.leaks, 4);
  EXPECT_EQ(result.corruptions, 0);
  EXPECT_THAT(result.sentences,
              ElementsAre(HasSubstr("blocks 500 to 502"), HasSubstr("block 600")));
}

TEST(ThinCheck, CountsThatAreTooLowAreCorruptions) {
  MemoryBlocks blocks = golden_pool();
  set_bitmap_count(blocks.at(kMetadataBitmap), kMappingTree, 0);
  seal(BlockKind::bitmap, kMetadataBitmap, blocks.at(kMetadataBitmap));
  EXPECT_THAT(check_of(blocks).sentences,
              ElementsAre("metadata block 7 has 1 references, and its count is 0"));
}

// What cannot be read may have references: then nothing is known to be leaked.
TEST(ThinCheck, ABlockThatCannotBeReadHidesOnlyWhatIsBelow) {
  MemoryBlocks blocks = golden_pool();
  blocks.unreadable = kMappingTree;
  const CheckResult result = check_of(blocks);
  EXPECT_EQ(result.check_errors, 1);
  EXPECT_EQ(result.corruptions, 0);
  EXPECT_EQ(result.leaks, 0);
  EXPECT_EQ(result.devices, 2);
}

TEST(ThinCheck, DamageIsToldOnceForEachBlock) {
  for (const uint64_t number : {kMetadataIndex, kMetadataBitmap, kDeviceTree, kDataBitmap}) {
    MemoryBlocks blocks = golden_pool();
    blocks.at(number)[100] ^= std::byte{1};
    const CheckResult result = check_of(blocks);
    EXPECT_EQ(result.corruptions, 1) << number;
    EXPECT_EQ(result.leaks, 0) << number;
  }
}

TEST(ThinCheck, ATreeInACircleEnds) {
  MemoryBlocks blocks = golden_pool();
  Node node = Node::format(blocks.at(kMappingTree), false, kChildBytes);
  std::array<std::byte, kChildBytes> child;
  store_little_endian(child, 0, kMappingTree);
  node.insert(0, 0, child);
  seal(BlockKind::node, kMappingTree, blocks.at(kMappingTree));
  EXPECT_GT(check_of(blocks).corruptions, 0);
  const auto superblock = load_superblock(blocks);
  EXPECT_FALSE(read_devices(blocks, *superblock));
}

TEST(ThinCheck, DevicesAreInBothTrees) {
  MemoryBlocks blocks = golden_pool();
  Node node(blocks.at(kDeviceTree));
  node.set_key(1, 7);
  seal(BlockKind::node, kDeviceTree, blocks.at(kDeviceTree));
  EXPECT_THAT(check_of(blocks).sentences,
              ElementsAre(HasSubstr("device 7 has no mapping tree"),
                          HasSubstr("device 5 has mappings and is not in the device tree")));
  EXPECT_FALSE(read_devices(blocks, *load_superblock(blocks)));
}

TEST(ThinDevices, RunsAreAsLongAsTheyCanBe) {
  MemoryBlocks blocks = golden_pool();
  const auto devices = read_devices(blocks, *load_superblock(blocks));
  ASSERT_TRUE(devices) << devices.error().text;
  ASSERT_EQ(devices->size(), 2);
  EXPECT_EQ(devices->back().id, 5);
  std::vector<std::string> runs;
  const auto take = [&](const MappedRun& run) {
    runs.push_back(fmt::format("{} at {}, {}, time {}", run.device_block, run.data_block,
                               run.length, run.time));
  };
  ASSERT_TRUE(for_each_run(blocks, devices->front().root, take));
  EXPECT_THAT(runs, ElementsAre("0 at 0, 4, time 0", "10 at 7, 1, time 1", "11 at 9, 1, time 1"));
}

TEST(ThinDevices, WithoutASnapshotThereIsNone) {
  MemoryBlocks blocks = golden_pool();
  const auto snapshot = load_snapshot(blocks, *load_superblock(blocks));
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().error, ENOENT);
}

}  // namespace
}  // namespace sluice::persistent::test
