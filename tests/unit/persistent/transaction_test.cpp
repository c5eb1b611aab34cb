#include "persistent/transaction.hpp"

#include <gtest/gtest.h>

#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"
#include "persistent/devices.hpp"
#include "unit/persistent/memory_blocks.hpp"

namespace sluice::persistent::test {
namespace {

using sluice::test::VolatileBlocks;

constexpr uint64_t kTebibyte = uint64_t{1} << 40;

VolatileBlocks empty_device(size_t blocks) {
  return VolatileBlocks(VolatileBlocks::Bytes(blocks * kBlockBytes));
}

void expect_clean(VolatileBlocks& device) {
  const auto result = check(device, {});
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_TRUE(result->clean()) << result->sentences.front();
}

TEST(ThinTransaction, ANewPoolHasNoDevices) {
  VolatileBlocks device = empty_device(512);
  auto made = Transaction::create(device, {.metadata_blocks = 512, .data_blocks = 1000});
  ASSERT_TRUE(made) << made.error().text;
  ASSERT_TRUE((*made)->commit(device));
  expect_clean(device);
  const auto opened = Transaction::open(device);
  ASSERT_TRUE(opened) << opened.error().text;
  EXPECT_EQ((*opened)->details(0).error().error, ENODEV);
  EXPECT_EQ((*opened)->find(0, 0).error().error, ENODEV);
  EXPECT_EQ((*opened)->provision(0, 0).error().error, ENODEV);
  EXPECT_EQ((*opened)->free_data_blocks(), 1000);
}

TEST(ThinTransaction, SizesThatTheFormatDoesNotHaveAreRefused) {
  VolatileBlocks device = empty_device(64);
  const auto refused = [&](const Transaction::NewPool& pool) {
    const auto made = Transaction::create(device, pool);
    return made ? 0 : made.error().error;
  };
  EXPECT_EQ(refused({.metadata_blocks = 64, .data_blocks = 1, .data_block_sectors = 64}), EINVAL);
  EXPECT_EQ(refused({.metadata_blocks = 64, .data_blocks = 1, .data_block_sectors = 192}), EINVAL);
  EXPECT_EQ(refused({.metadata_blocks = 64, .data_blocks = kDataBlocksMost + 1}), EINVAL);
  EXPECT_EQ(refused({.metadata_blocks = 8, .data_blocks = 1}), ENOSPC);
  EXPECT_EQ(refused({.metadata_blocks = 64, .data_blocks = 1'000'000}), ENOSPC);
}

TEST(ThinTransaction, WhatMustNotBeWrittenIsNotOpened) {
  std::vector<std::byte> image = golden("two_devices.txt", 32);
  Superblock superblock = *read_superblock(block_of(std::as_const(image), 0));
  superblock.flags = Superblock::kNeedsCheck;
  write_superblock(superblock, block_of(image, 0));
  MemoryBlocks flagged(image);
  EXPECT_EQ(Transaction::open(flagged).error().error, EUCLEAN);
  superblock.flags = 0;
  superblock.read_only_compatible = 4;
  write_superblock(superblock, block_of(image, 0));
  MemoryBlocks newer(image);
  EXPECT_EQ(Transaction::open(newer).error().error, EROFS);
}

// What is beyond 2 TiB has numbers of its own (T6.6).
TEST(ThinTransaction, ADataDeviceOf20Tebibytes) {
  constexpr uint64_t kBlocks = 20 * kTebibyte / (64 << 10);
  VolatileBlocks device = empty_device(30000);
  auto made = Transaction::create(device, {.metadata_blocks = 30000, .data_blocks = kBlocks});
  ASSERT_TRUE(made) << made.error().text;
  Transaction& transaction = **made;
  ASSERT_TRUE(transaction.create_device(7));
  const std::vector<uint64_t> places = {0, (uint64_t{1} << 31) - 1, uint64_t{1} << 32, kBlocks - 1};
  for (const uint64_t block : places) ASSERT_TRUE(transaction.provision(7, block));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  for (const uint64_t block : places) {
    const auto found = transaction.find(7, block);
    ASSERT_TRUE(found && *found) << block;
    ASSERT_TRUE(transaction.unmap(7, block)) << block;
  }
  EXPECT_EQ(transaction.details(7)->mapped_blocks, 0);
}

// Another program's pool goes on with ours.
TEST(ThinTransaction, APoolOfAnotherProgramIsChanged) {
  VolatileBlocks device(golden("two_devices.txt", 32));
  auto opened = Transaction::open(device);
  ASSERT_TRUE(opened) << opened.error().text;
  Transaction& transaction = **opened;
  EXPECT_EQ(**transaction.find(0, 10), (Mapping{.data_block = 7, .time = 1}));
  EXPECT_EQ(transaction.data_count(0), 2);
  ASSERT_TRUE(transaction.create_snapshot(9, 5));
  EXPECT_EQ(transaction.superblock().time, 2);
  ASSERT_TRUE(transaction.remove_device(5));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  const auto devices = read_devices(device, transaction.superblock());
  ASSERT_TRUE(devices) << devices.error().text;
  ASSERT_EQ(devices->size(), 2);
  EXPECT_EQ(devices->back().id, 9);
  EXPECT_EQ(
      devices->back().details,
      (DeviceDetails{
          .mapped_blocks = 4, .transaction_id = 3, .creation_time = 2, .snapshotted_time = 2}));
}

// A metadata snapshot shares trees of all kinds, and keeps its state whatever is changed.
TEST(ThinTransaction, AMetadataSnapshotStaysAsItIs) {
  VolatileBlocks device(golden("kernel.txt", 512));
  const auto found_by_snapshot = [&] {
    const auto snapshot = load_snapshot(device, *load_superblock(device));
    std::vector<std::string> found;
    for (const ThinDevice& each : *read_devices(device, *snapshot)) {
      const auto add = [&](const MappedRun& run) {
        found.push_back(fmt::format("{}: {} {} {} {}", each.id, run.device_block, run.data_block,
                                    run.length, run.time));
      };
      EXPECT_TRUE(for_each_run(device, each.root, add));
    }
    return found;
  };
  const auto before = found_by_snapshot();
  auto opened = Transaction::open(device);
  ASSERT_TRUE(opened) << opened.error().text;
  Transaction& transaction = **opened;
  ASSERT_TRUE(transaction.provision(1, 0));
  ASSERT_TRUE(transaction.unmap(2, 100));
  ASSERT_TRUE(transaction.remove_device(4));
  ASSERT_TRUE(transaction.create_snapshot(6, 1));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  EXPECT_EQ(found_by_snapshot(), before);
  ASSERT_TRUE(transaction.remove_device(1));
  ASSERT_TRUE(transaction.remove_device(2));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  EXPECT_EQ(found_by_snapshot(), before);
}

// A block that is free now, and was not in the last transaction, still has what a power cut would
// bring back.
TEST(ThinTransaction, WhatWasFreedIsNotUsedBeforeTheCommit) {
  VolatileBlocks device = empty_device(256);
  auto made = Transaction::create(device, {.metadata_blocks = 256, .data_blocks = 1});
  ASSERT_TRUE(made) << made.error().text;
  Transaction& transaction = **made;
  ASSERT_TRUE(transaction.create_device(0));
  ASSERT_TRUE(transaction.provision(0, 0));
  ASSERT_TRUE(transaction.commit(device));
  ASSERT_TRUE(transaction.unmap(0, 0));
  EXPECT_EQ(transaction.provision(0, 1).error().error, ENOSPC);
  ASSERT_TRUE(transaction.commit(device));
  EXPECT_EQ(transaction.provision(0, 1), 0);
}

// Damage stops an operation in the middle, and no trace of it is left.
TEST(ThinTransaction, DamageStopsAStepAsAWhole) {
  MemoryBlocks blocks(golden("two_devices.txt", 32));
  auto opened = Transaction::open(blocks);
  ASSERT_TRUE(opened) << opened.error().text;
  Transaction& transaction = **opened;
  blocks.unreadable = 9;  // the bitmap of the data
  EXPECT_EQ(transaction.provision(0, 100).error().error, EIO);
  EXPECT_EQ(transaction.remove_device(0).error().error, EIO);
  EXPECT_EQ(transaction.details(0)->mapped_blocks, 6);
  blocks.unreadable = UINT64_MAX;
  ASSERT_TRUE(transaction.provision(0, 100));
  VolatileBlocks device(blocks.image);
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
}

// The volume is what the snapshot is, and what only it had mapped is free.
TEST(ThinTransaction, ADeviceIsRolledBack) {
  VolatileBlocks device = empty_device(512);
  auto made = Transaction::create(device, {.metadata_blocks = 512, .data_blocks = 1000});
  ASSERT_TRUE(made) << made.error().text;
  Transaction& transaction = **made;
  ASSERT_TRUE(transaction.create_device(1));
  for (uint64_t block = 0; block < 300; ++block) ASSERT_TRUE(transaction.provision(1, block));
  ASSERT_TRUE(transaction.create_snapshot(2, 1));
  ASSERT_TRUE(transaction.commit(device));
  const uint64_t free = transaction.free_data_blocks();
  for (uint64_t block = 250; block < 400; ++block) ASSERT_TRUE(transaction.provision(1, block));
  ASSERT_TRUE(transaction.commit(device));
  EXPECT_EQ(transaction.roll_back(1, 3).error().error, ENODEV);
  EXPECT_EQ(transaction.roll_back(3, 1).error().error, ENODEV);
  EXPECT_EQ(transaction.roll_back(1, 1).error().error, EINVAL);
  transaction.set_transaction_id(9);
  ASSERT_TRUE(transaction.roll_back(1, 2));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  EXPECT_EQ(transaction.free_data_blocks(), free);
  EXPECT_EQ(*transaction.find(1, 260), *transaction.find(2, 260));
  EXPECT_EQ(*transaction.find(1, 350), std::nullopt);
  EXPECT_TRUE(*transaction.is_shared(1, **transaction.find(1, 260)));
  EXPECT_TRUE(*transaction.is_shared(2, **transaction.find(2, 260)));
  EXPECT_EQ(
      *transaction.details(1),
      (DeviceDetails{
          .mapped_blocks = 300, .transaction_id = 9, .creation_time = 2, .snapshotted_time = 2}));
}

// It gets what the metadata needs for it, or nothing.
TEST(ThinTransaction, APoolGrows) {
  VolatileBlocks device = empty_device(400);
  auto made = Transaction::create(device, {.metadata_blocks = 40, .data_blocks = 100});
  ASSERT_TRUE(made) << made.error().text;
  Transaction& transaction = **made;
  ASSERT_TRUE(transaction.create_device(1));
  for (uint64_t block = 0; block < 100; ++block) ASSERT_TRUE(transaction.provision(1, block));
  EXPECT_EQ(transaction.provision(1, 100).error().error, ENOSPC);
  EXPECT_EQ(transaction.grow_data(99).error().error, EINVAL);
  EXPECT_EQ(transaction.grow_data(kDataBlocksMost + 1).error().error, EINVAL);
  EXPECT_EQ(transaction.grow_data(1'000'000).error().error, ENOSPC);
  EXPECT_EQ(transaction.grow_metadata(401).error().error, EINVAL);
  EXPECT_EQ(transaction.grow_metadata(39).error().error, EINVAL);
  ASSERT_TRUE(transaction.grow_metadata(400));
  ASSERT_TRUE(transaction.grow_data(1'000'000));
  EXPECT_EQ(transaction.free_data_blocks(), 999'900);
  ASSERT_TRUE(transaction.provision(1, 100));
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
  const auto superblock = load_superblock(device);
  EXPECT_EQ(superblock->data_space_map.blocks, 1'000'000);
  EXPECT_EQ(superblock->metadata_space_map.blocks, 400);
}

// A block of a bitmap that another program has counted as free, though it was beyond the end.
TEST(ThinTransaction, APoolOfAnotherProgramGrows) {
  VolatileBlocks device(golden("kernel.txt", 512));
  auto opened = Transaction::open(device);
  ASSERT_TRUE(opened) << opened.error().text;
  Transaction& transaction = **opened;
  const uint64_t blocks = transaction.superblock().data_space_map.blocks;
  const uint64_t free = transaction.free_data_blocks();
  ASSERT_TRUE(transaction.grow_data(blocks + 10));
  EXPECT_EQ(transaction.free_data_blocks(), free + 10);
  for (uint64_t i = 0; i < free + 10; ++i) ASSERT_TRUE(transaction.provision(1, 5000 + i)) << i;
  EXPECT_EQ(transaction.provision(1, 4000).error().error, ENOSPC);
  ASSERT_TRUE(transaction.commit(device));
  expect_clean(device);
}

}  // namespace
}  // namespace sluice::persistent::test
