#include <gmock/gmock.h>

#include <thread>

#include "persistent/devices.hpp"
#include "persistent/node.hpp"
#include "target/status_contexts.hpp"
#include "unit/target/thin/pool_files.hpp"

namespace sluice::thin::test {
namespace {

using ThinTarget = PoolFiles;
using testing::HasSubstr;

TEST_F(ThinTarget, WhatIsNotMappedIsZero) {
  make_pool();
  open("volume=1");
  EXPECT_TRUE(has(0, 1 << 20, 0));
  fill(5 * kPoolBlock + 4096, 8192, 1);
  EXPECT_TRUE(has(5 * kPoolBlock, 4096, 0));
  EXPECT_TRUE(has(5 * kPoolBlock + 4096, 8192, 1));
  EXPECT_TRUE(has(5 * kPoolBlock + 12288, kPoolBlock - 12288, 0));
  EXPECT_EQ(number("blocks_provisioned"), 1);
  close();
  expect_sound();
  open("volume=1");
  EXPECT_TRUE(has(5 * kPoolBlock + 4096, 8192, 1));
}

TEST_F(ThinTarget, WithoutZeroingANewBlockShowsWhatWasThere) {
  make_pool();
  open("volume=1, zero=no");
  fill(0, 4096, 1);
  EXPECT_TRUE(has(4096, kPoolBlock - 4096, 0xAB));
}

TEST_F(ThinTarget, ASnapshotKeepsWhatItHad) {
  make_pool();
  open("volume=1");
  fill(0, 4 * kPoolBlock, 1);
  ASSERT_EQ(control("snapshot", {"7"}), "");
  EXPECT_THAT(control("snapshot", {"7"}), HasSubstr("a thin device 7 already"));
  fill(kPoolBlock, kPoolBlock, 2);
  EXPECT_EQ(number("blocks_copied"), 0) << "a whole block is not copied";
  fill(2 * kPoolBlock + 512, 512, 3);
  EXPECT_EQ(number("blocks_copied"), 2) << "before and behind what is written";
  EXPECT_TRUE(has(2 * kPoolBlock, 512, 1));
  EXPECT_TRUE(has(2 * kPoolBlock + 512, 512, 3));
  EXPECT_TRUE(has(2 * kPoolBlock + 1024, kPoolBlock - 1024, 1));
  close();
  expect_sound();
  open("volume=7");
  EXPECT_TRUE(has(0, 4 * kPoolBlock, 1));
}

TEST_F(ThinTarget, VolumesAreMadeAndDeleted) {
  make_pool();
  open("volume=1");
  fill(0, 8 * kPoolBlock, 1);
  ASSERT_EQ(control("create", {"3"}), "");
  ASSERT_EQ(control("snapshot", {"4"}), "");
  fill(0, 2 * kPoolBlock, 2);
  ASSERT_TRUE(device->flush().ok());
  EXPECT_EQ(number("data_blocks_free"), 54);
  EXPECT_THAT(control("delete", {"1"}), HasSubstr("volume 1 is served"));
  EXPECT_THAT(control("delete", {"9"}), HasSubstr("no thin device 9"));
  EXPECT_THAT(control("delete", {"4x"}), HasSubstr("is a number up to 16777215, not '4x'"));
  EXPECT_THAT(control("create", {"16777216"}), HasSubstr("is a number up to"));
  ASSERT_EQ(control("delete", {"4"}), "");
  EXPECT_EQ(number("data_blocks_free"), 56);
  ASSERT_EQ(control("delete", {"3"}), "");
  EXPECT_TRUE(has(0, 2 * kPoolBlock, 2));
  EXPECT_TRUE(has(2 * kPoolBlock, 6 * kPoolBlock, 1));
  close();
  expect_sound();
}

// T6.13; T6.21: what is freed counts at once.
TEST_F(ThinTarget, ADiscardFreesWhatIsNotShared) {
  make_pool();
  open("volume=1");
  fill(0, 8 * kPoolBlock, 1);
  ASSERT_EQ(control("snapshot", {"7"}), "");
  ASSERT_TRUE(device->discard(0, 4 * kPoolBlock + 4096).ok());
  EXPECT_TRUE(has(0, 4 * kPoolBlock, 0));
  EXPECT_TRUE(has(4 * kPoolBlock, 4 * kPoolBlock, 1)) << "a part of a block stays";
  ASSERT_TRUE(device->flush().ok());
  EXPECT_EQ(number("data_blocks_free"), 56) << "the snapshot has them";
  ASSERT_EQ(control("delete", {"7"}), "");
  EXPECT_EQ(number("data_blocks_free"), 60);
}

TEST_F(ThinTarget, DiscardsCanBeIgnored) {
  make_pool();
  open("volume=1, discards=ignore");
  EXPECT_FALSE(stack->geometry().can_discard);
}

TEST_F(ThinTarget, ZeroesOfWholeBlocksUnmapThem) {
  make_pool();
  open("volume=1");
  fill(0, 4 * kPoolBlock, 1);
  ASSERT_TRUE(device->write_zeroes(512, 3 * kPoolBlock).ok());
  EXPECT_TRUE(has(512, 3 * kPoolBlock, 0));
  EXPECT_TRUE(has(0, 512, 1));
  EXPECT_TRUE(has(3 * kPoolBlock + 512, kPoolBlock - 512, 1));
  ASSERT_TRUE(device->flush().ok());
  EXPECT_EQ(number("data_blocks_free"), 62);
}

TEST_F(ThinTarget, SaysWhatIsMapped) {
  make_pool();
  open("volume=1");
  fill(2 * kPoolBlock, 4096, 1);
  Extents found(16 << 20);
  ASSERT_TRUE(device->extents(0, found).ok());
  ASSERT_EQ(found.list().size(), 3);
  EXPECT_TRUE(found.list()[0].zero);
  EXPECT_EQ(found.list()[0].length, 2 * kPoolBlock);
  EXPECT_FALSE(found.list()[1].hole);
  EXPECT_EQ(found.list()[1].length, kPoolBlock);
  EXPECT_TRUE(found.complete());
}

TEST_F(ThinTarget, AFullPoolRefusesNewBlocksAndServesAllOthers) {
  make_pool({.data_blocks = 8});
  open("volume=1, no_space_timeout=0s");
  fill(0, 8 * kPoolBlock, 1);
  fill(8 * kPoolBlock, 4096, 2, ENOSPC);
  EXPECT_EQ(stack->health().state, HealthState::degraded);
  fill(0, 8 * kPoolBlock, 3);
  EXPECT_TRUE(has(0, 8 * kPoolBlock, 3));
  // What is free again can be used at once, after a commit.
  ASSERT_TRUE(device->discard(0, kPoolBlock).ok());
  fill(8 * kPoolBlock, 4096, 2);
  EXPECT_TRUE(has(8 * kPoolBlock + 4096, kPoolBlock - 4096, 0)) << "nothing of its last owner";
  close();
  expect_sound();
}

TEST_F(ThinTarget, AWriteWaitsForSpace) {
  make_pool({.data_blocks = 8});
  open("volume=1, no_space_timeout=30s");
  fill(0, 8 * kPoolBlock, 1);
  std::thread writer([&] { fill(9 * kPoolBlock, 4096, 2); });
  ASSERT_EQ(folder.run("truncate -s 1M data"), 0);
  const auto grown = stack->resize(std::nullopt);
  EXPECT_TRUE(grown) << grown.error().text;
  writer.join();
  EXPECT_TRUE(has(9 * kPoolBlock, 4096, 2));
  EXPECT_EQ(number("data_blocks"), 16);
  close();
  expect_sound();
}

// T6.2
TEST_F(ThinTarget, FullMetadataEndsChangesUntilItGrows) {
  make_pool({.metadata_blocks = 40, .data_blocks = 3000});
  ASSERT_EQ(try_open(fmt::format("thin({0}/meta, {0}/data, size=8G, volume=1)", folder.path())),
            "");
  uint64_t done = 0;
  const Buffer memory(4096);
  std::memset(memory.bytes().data(), 1, 4096);
  Status status;
  // Far apart, so that each needs another node.
  for (; status.ok() && done < 3000; ++done) {
    status = device->write(done * 37 % 3000 * kPoolBlock * 40, memory.bytes());
  }
  ASSERT_EQ(status.error(), EIO) << done;
  EXPECT_THAT(stack->health().reason, HasSubstr("no space for metadata"));
  EXPECT_TRUE(has(0, 4096, 1));
  ASSERT_EQ(folder.run("truncate -s 4M meta"), 0);
  const auto grown = stack->resize(std::nullopt);
  ASSERT_TRUE(grown) << grown.error().text;
  fill((done - 1) * 37 % 3000 * kPoolBlock * 40, 4096, 1);
  for (uint64_t i = 0; i < done; ++i) {
    ASSERT_TRUE(has(i * 37 % 3000 * kPoolBlock * 40, 4096, 1)) << i;
  }
  close();
  expect_sound();
}

TEST_F(ThinTarget, ThePoolGrowsByItself) {
  make_pool({.metadata_blocks = 1024, .data_blocks = 16});
  open("volume=1, autogrow=1M");
  for (uint64_t i = 0; i < 100; ++i) fill(i * kPoolBlock, 4096, 1);
  EXPECT_GE(number("data_blocks"), 100);
  EXPECT_TRUE(has(99 * kPoolBlock, 4096, 1));
}

// A volume of 20 TiB (T6.6).
TEST_F(ThinTarget, LargeVolumesAreSparse) {
  make_pool();
  const uint64_t end = uint64_t{20} << 40;
  ASSERT_EQ(try_open(fmt::format("thin({0}/meta, {0}/data, size=20T, volume=1)", folder.path())),
            "");
  fill(end - 4096, 4096, 1);
  fill(end / 2, 4096, 2);
  EXPECT_TRUE(has(end - 4096, 4096, 1));
  EXPECT_TRUE(has(end / 2, 4096, 2));
  EXPECT_TRUE(has(0, 4096, 0));
  ASSERT_TRUE(device->discard(0, end).ok());
  EXPECT_TRUE(has(end - 4096, 4096, 0));
  ASSERT_TRUE(device->flush().ok());
  EXPECT_EQ(number("data_blocks_free"), 64);
}

TEST_F(ThinTarget, WhatAnExternalOriginHasIsSeenAndCopied) {
  make_pool();
  folder.write("base", std::vector<std::byte>(3 * kPoolBlock + 4096, std::byte{9}));
  const std::string base = fmt::format(", {}/base", folder.path());
  ASSERT_EQ(try_open(thin("volume=1", base)), "");
  EXPECT_TRUE(has(0, 3 * kPoolBlock + 4096, 9));
  EXPECT_TRUE(has(3 * kPoolBlock + 4096, kPoolBlock, 0)) << "T6.8";
  fill(kPoolBlock + 512, 512, 1);
  EXPECT_TRUE(has(kPoolBlock, 512, 9));
  EXPECT_TRUE(has(kPoolBlock + 1024, kPoolBlock - 1024, 9));
  fill(3 * kPoolBlock, 512, 1);
  EXPECT_TRUE(has(3 * kPoolBlock + 512, 4096 - 512, 9));
  EXPECT_TRUE(has(3 * kPoolBlock + 4096, kPoolBlock - 4096, 0));
  // T6.4: what it has is not seen again where it is written over.
  ASSERT_TRUE(device->write_zeroes(0, 4 * kPoolBlock).ok());
  EXPECT_TRUE(has(0, 4 * kPoolBlock, 0));
  close();
  expect_sound();
}

// Its blocks are smaller than those of the data device.
TEST_F(ThinTarget, TheEndOfAnExternalOriginMayBeNoBlock) {
  make_pool();
  folder.write("base", std::vector<std::byte>(kPoolBlock + 512, std::byte{9}));
  ASSERT_EQ(
      try_open(fmt::format("thin({0}/meta, loop({0}/data, block=4k), {0}/base, size=1M, volume=1)",
                           folder.path())),
      "");
  fill(kPoolBlock + 8192, 4096, 1);
  EXPECT_TRUE(has(0, kPoolBlock, 9));
  EXPECT_TRUE(has(kPoolBlock + 4096, 4096, 0));
  const Buffer memory(4096);
  ASSERT_TRUE(device->read(kPoolBlock, memory.bytes()).ok());
  EXPECT_EQ(memory.bytes()[511], std::byte{9});
  EXPECT_EQ(memory.bytes()[512], std::byte{0});
}

TEST_F(ThinTarget, SeveralVolumesOfOnePool) {
  make_pool();
  const std::string first = thin("volume=1, pool=p");
  EXPECT_THAT(
      try_open(fmt::format("exports({}, thin(volume=2, pool=p, size=8M), names=a+b)", first)),
      HasSubstr("a device serves one disk"));
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->disks().size(), 2);
  close();
  EXPECT_THAT(try_open("thin(volume=2, pool=p, size=8M)"), HasSubstr("there is no pool 'p'"));
  // Two stacks may use the same name, and a pool is none of another stack's.
  ASSERT_EQ(try_open(first), "");
  const auto other = parse_spec("thin(volume=2, pool=p, size=8M)", target_vocabulary());
  ASSERT_TRUE(other);
  EXPECT_FALSE(Stack::open(*other, false));
  close();
  EXPECT_THAT(
      try_open(fmt::format("exports({}, thin(volume=1, pool=p, size=8M), names=a+b)", first)),
      HasSubstr("volume 1 is served already"));
  close();
  EXPECT_THAT(try_open(fmt::format(
                  "exports({}, thin(volume=2, pool=p, size=8M, zero=no), names=a+b)", first)),
              HasSubstr("zero is the pool's"));
}

TEST_F(ThinTarget, WhatCannotBeServedIsRefused) {
  make_pool();
  EXPECT_THAT(try_open(thin("volume=5")), HasSubstr("no thin device 5"));
  EXPECT_THAT(try_open(fmt::format("thin({}/meta, volume=1, size=1M)", folder.path())),
              HasSubstr("needs two devices"));
  EXPECT_THAT(try_open("thin(volume=1, size=1M)"), HasSubstr("has no devices"));
  EXPECT_THAT(try_open(thin("volume=1, discards=maybe")),
              HasSubstr("passdown, nopassdown or ignore"));
  EXPECT_THAT(try_open(thin("volume=1, no_space_timeout=60")), HasSubstr("a time of at most 24h"));
  EXPECT_THAT(try_open(fmt::format("thin({0}/data, {0}/meta, volume=1, size=1M)", folder.path())),
              HasSubstr("superblock"));
  ASSERT_EQ(folder.run("truncate -s 1M data"), 0);
  EXPECT_THAT(try_open(thin("volume=1")), HasSubstr("the data device only 16"));
}

// T6.3
TEST_F(ThinTarget, DamagedMetadataNeedsACheck) {
  make_pool({.data_blocks = 400});
  ASSERT_EQ(try_open(fmt::format("thin({0}/meta, {0}/data, size=1G, volume=1)", folder.path())),
            "");
  for (uint64_t i = 0; i < 350; ++i) fill(i * kPoolBlock, 512, 1);
  close();
  const auto sound = folder.read("meta");
  VolatileBlocks blocks(sound);
  const auto superblock = persistent::load_superblock(blocks);
  ASSERT_TRUE(superblock);
  const auto devices = persistent::read_devices(blocks, *superblock);
  ASSERT_TRUE(devices);
  const uint64_t root = devices->front().root;
  const auto damage = [&](uint64_t block) {
    auto metadata = sound;
    metadata[block * persistent::kBlockBytes + 100] ^= std::byte{1};
    folder.write("meta", metadata);
    return metadata;
  };
  const auto damaged = damage(root);
  EXPECT_THAT(try_open(thin("volume=1")), HasSubstr("checksum"));
  close();
  EXPECT_EQ(folder.read("meta"), damaged) << "nothing is written before it is served";
  const persistent::NodeView node(std::span<const std::byte>(sound)
                                      .subspan(root * persistent::kBlockBytes)
                                      .first<persistent::kBlockBytes>());
  ASSERT_FALSE(node.is_leaf());
  damage(node.value64(1));
  ASSERT_EQ(try_open(fmt::format("thin({0}/meta, {0}/data, size=1G, volume=1)", folder.path())),
            "");
  EXPECT_TRUE(has(0, 512, 1));
  const Buffer memory(512);
  EXPECT_EQ(device->read(349 * kPoolBlock, memory.bytes()).error(), EIO);
  EXPECT_EQ(stack->health().state, HealthState::failed);
  EXPECT_THAT(stack->health().reason, HasSubstr("damaged"));
  fill(0, 512, 2, EIO);
  close();
  EXPECT_THAT(try_open(thin("volume=1")), HasSubstr("needs a check"));
}

TEST_F(ThinTarget, ReadOnlyNothingIsWritten) {
  make_pool();
  open("volume=1");
  fill(0, kPoolBlock, 1);
  close();
  const auto before = folder.read("meta");
  ASSERT_EQ(try_open(thin("volume=1"), true), "");
  EXPECT_TRUE(has(0, kPoolBlock, 1));
  fill(0, 4096, 2, EROFS);
  EXPECT_THAT(control("create", {"8"}), HasSubstr("read-only"));
  close();
  EXPECT_EQ(folder.read("meta"), before);
}

TEST_F(ThinTarget, AMetadataSnapshotIsForTools) {
  make_pool();
  open("volume=1");
  fill(0, 4 * kPoolBlock, 1);
  ASSERT_EQ(control("reserve-metadata-snapshot"), "");
  EXPECT_THAT(control("reserve-metadata-snapshot"), HasSubstr("already"));
  fill(4 * kPoolBlock, 4 * kPoolBlock, 1);
  ASSERT_TRUE(device->flush().ok());
  expect_sound();
  ASSERT_EQ(control("release-metadata-snapshot"), "");
  EXPECT_THAT(control("release-metadata-snapshot"), HasSubstr("no metadata snapshot"));
  expect_sound();
}

TEST_F(ThinTarget, SaysHowItDiffersFromASnapshot) {
  make_pool();
  open("volume=1");
  fill(0, 4 * kPoolBlock, 1);
  ASSERT_EQ(control("snapshot", {"7"}), "");
  fill(kPoolBlock, 4096, 2);
  fill(9 * kPoolBlock, 4096, 2);
  ASSERT_TRUE(device->discard(3 * kPoolBlock, kPoolBlock).ok());
  StatusContexts* const contexts = stack->root().status_contexts();
  EXPECT_THAT(contexts->contexts(),
              testing::ElementsAre("sluice:thin-delta:2", "sluice:thin-delta:7"));
  std::string found;
  const auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  const auto ask = [&](const std::string& context) {
    StatusRuns runs(16 << 20);
    const auto asking = [&](Request& request) {
      request.length = 16 << 20;
      return contexts->context_status(request, context, runs);
    };
    const Status status = (*reactor)->perform(asking, ControlReactor::Clock::time_point::max());
    found.clear();
    for (const StatusRun& run : runs.list()) {
      found += fmt::format("{}*{} ", run.flags, run.length / kPoolBlock);
    }
    return status.error();
  };
  EXPECT_EQ(ask("sluice:thin-delta:7"), 0);
  EXPECT_EQ(found, "0*1 1*1 0*1 1*1 0*5 1*1 0*246 ");
  EXPECT_EQ(ask("sluice:thin-delta:8"), ENOENT);
  EXPECT_EQ(ask("sluice:thin-delta:"), ENOENT);
}

}  // namespace
}  // namespace sluice::thin::test
