#include "persistent/served_transaction.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"
#include "persistent/devices.hpp"

namespace sluice::persistent::test {
namespace {

using sluice::test::VolatileBlocks;
using Placing = ServedTransaction::Placing;

// A reader that has nothing at hand the first time.
class Forgetful final : public BlockReader {
 public:
  explicit Forgetful(BlockReader& device) : device_(device) {}
  uint64_t blocks() const override { return device_.blocks(); }
  Result<void> read(uint64_t number, Block block) override {
    if (known_.insert(number).second) return fail(EAGAIN, "not at hand");
    return device_.read(number, block);
  }
  void forget() { known_.clear(); }

 private:
  BlockReader& device_;
  std::set<uint64_t> known_;
};

template <typename Work>
auto until_at_hand(Work work) -> decltype(work()) {
  while (true) {
    auto done = work();
    if (done || done.error().error != EAGAIN) return done;
  }
}

struct ServedPool : testing::Test {
  static constexpr uint64_t kData = 5000;

  ServedPool() {
    auto made = Transaction::create(device, {.metadata_blocks = 1024, .data_blocks = kData});
    EXPECT_TRUE((*made)->create_device(1));
    EXPECT_TRUE((*made)->commit(device));
    open();
  }
  void open() {
    pool.reset();
    pool = std::move(*until_at_hand(
        [&] { return ServedTransaction::open(reader, Transaction::Access::read_write); }));
  }
  void commit() {
    Sealed sealed;
    ASSERT_TRUE(until_at_hand([&] { return pool->seal(sealed); }));
    for (const Sealed::NewBlock& block : sealed.blocks) {
      ASSERT_TRUE(device.write(block.number, block.bytes));
    }
    ASSERT_TRUE(device.flush());
    ASSERT_TRUE(device.write_superblock(sealed.superblock));
    pool->settle();
  }
  void fill(uint64_t id, uint64_t begin, uint64_t count) {
    std::vector<Placing> placings;
    for (uint64_t i = 0; i < count; ++i) placings.push_back({.block = begin + i});
    ASSERT_TRUE(until_at_hand([&] { return pool->reserve(placings); }));
    ASSERT_TRUE(until_at_hand([&] { return pool->map(id, placings); }));
    pool->give_back(placings);
  }
  std::vector<uint64_t> blocks_of(uint64_t id, uint64_t begin = 0, uint64_t end = UINT64_MAX) {
    std::vector<uint64_t> found;
    const auto visited = until_at_hand([&] {
      found.clear();
      return pool->visit(id, begin, end, [&](uint64_t block, Mapping) {
        found.push_back(block);
        return true;
      });
    });
    EXPECT_TRUE(visited);
    return found;
  }
  template <typename Begin>
  void remove(Begin begin) {
    ServedTransaction::Removal removal;
    ASSERT_TRUE(until_at_hand([&] { return begin(removal); }));
    while (!removal.is_done()) {
      ASSERT_TRUE(until_at_hand([&] { return pool->continue_removal(removal); }));
    }
    commit();
  }
  void expect_clean() {
    const auto result = check(device, {});
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_TRUE(result->clean()) << result->sentences.front();
  }

  VolatileBlocks device{VolatileBlocks::Bytes(1024 * kBlockBytes)};
  Forgetful reader{device};
  std::unique_ptr<ServedTransaction> pool;
};

// T6.14: a power cut leaks nothing.
TEST_F(ServedPool, NoCommitKnowsOfWhatIsReserved) {
  std::array<Placing, 3> placings{{{.block = 0}, {.block = 1}, {.block = 2}}};
  ASSERT_TRUE(until_at_hand([&] { return pool->reserve(placings); }));
  commit();
  expect_clean();
  EXPECT_EQ(pool->free_data_blocks(), kData);
  std::array<Placing, 1> other{{{.block = 7}}};
  ASSERT_TRUE(until_at_hand([&] { return pool->reserve(other); }));
  for (const Placing& each : placings) EXPECT_NE(each.data_block, other[0].data_block);
  ASSERT_TRUE(until_at_hand([&] { return pool->map(1, placings); }));
  pool->give_back(placings);
  pool->give_back(other);
  commit();
  expect_clean();
  EXPECT_EQ(blocks_of(1), (std::vector<uint64_t>{0, 1, 2}));
}

TEST_F(ServedPool, ReservesAllOrNothing) {
  std::vector<Placing> most(kData);
  ASSERT_TRUE(until_at_hand([&] { return pool->reserve(most); }));
  std::array<Placing, 1> one{};
  EXPECT_EQ(until_at_hand([&] { return pool->reserve(one); }).error().error, ENOSPC);
  pool->give_back(std::span(most).first(1));
  std::array<Placing, 2> two{};
  EXPECT_EQ(until_at_hand([&] { return pool->reserve(two); }).error().error, ENOSPC);
  EXPECT_TRUE(until_at_hand([&] { return pool->reserve(one); }));
}

// T6.5: what is unmapped has no other owner before the commit, and before its owner lets it go.
TEST_F(ServedPool, WhatIsUnmappedIsReserved) {
  fill(1, 0, kData);
  commit();
  std::vector<uint64_t> freed;
  const std::array<uint64_t, 3> blocks{4, 5, 6};
  ASSERT_TRUE(until_at_hand([&] { return pool->unmap(1, blocks, freed); }));
  ASSERT_EQ(freed.size(), 3);
  commit();
  expect_clean();
  std::array<Placing, 1> one{};
  EXPECT_EQ(until_at_hand([&] { return pool->reserve(one); }).error().error, ENOSPC);
  pool->free_data(freed[1]);
  ASSERT_TRUE(until_at_hand([&] { return pool->reserve(one); }));
  EXPECT_EQ(one[0].data_block, freed[1]);
}

// T6.13
TEST_F(ServedPool, SharedBlocksAreNotFreed) {
  fill(1, 0, 10);
  ASSERT_TRUE(until_at_hand([&] { return pool->create_snapshot(2, 1); }));
  std::vector<uint64_t> freed;
  const std::array<uint64_t, 2> blocks{3, 300};
  ASSERT_TRUE(until_at_hand([&] { return pool->unmap(1, blocks, freed); }));
  EXPECT_TRUE(freed.empty());
  ASSERT_TRUE(until_at_hand([&] { return pool->unmap(2, blocks, freed); }));
  EXPECT_EQ(freed.size(), 1);
}

TEST_F(ServedPool, VisitsARange) {
  fill(1, 100, 1000);
  fill(1, 4000, 2);
  reader.forget();
  commit();
  open();
  EXPECT_EQ(blocks_of(1).size(), 1002);
  EXPECT_EQ(blocks_of(1, 1098, 4001), (std::vector<uint64_t>{1098, 1099, 4000}));
  EXPECT_TRUE(blocks_of(1, 1100, 4000).empty());
  EXPECT_TRUE(blocks_of(1, 0, 100).empty());
}

TEST_F(ServedPool, ARemovalInStepsLeavesNothing) {
  fill(1, 0, 3000);
  ASSERT_TRUE(until_at_hand([&] { return pool->create_snapshot(2, 1); }));
  fill(1, 500, 100);
  commit();
  reader.forget();
  open();
  remove([&](auto& removal) { return pool->begin_removal(1, removal); });
  expect_clean();
  EXPECT_EQ(pool->free_data_blocks(), kData - 3000);
  EXPECT_EQ(until_at_hand([&] { return pool->details(1); }).error().error, ENODEV);
}

// A device that has been removed since is in it, until it is released.
TEST_F(ServedPool, AMetadataSnapshotIsTakenAndReleased) {
  fill(1, 0, 1000);
  ASSERT_TRUE(until_at_hand([&] { return pool->create_snapshot(2, 1); }));
  commit();
  ASSERT_TRUE(until_at_hand([&] { return pool->take_metadata_snapshot(); }));
  EXPECT_EQ(until_at_hand([&] { return pool->take_metadata_snapshot(); }).error().error, EEXIST);
  commit();
  expect_clean();
  fill(1, 100, 50);
  for (const uint64_t id : {1U, 2U}) {
    remove([&](auto& removal) { return pool->begin_removal(id, removal); });
  }
  expect_clean();
  EXPECT_EQ(pool->free_data_blocks(), kData - 1000);
  const auto superblock = load_superblock(device);
  ASSERT_TRUE(superblock);
  const auto snapshot = load_snapshot(device, *superblock);
  ASSERT_TRUE(snapshot) << snapshot.error().text;
  const auto devices = read_devices(device, *snapshot);
  ASSERT_TRUE(devices) << devices.error().text;
  ASSERT_EQ(devices->size(), 2);
  EXPECT_EQ(devices->front().details.mapped_blocks, 1000);
  remove([&](auto& removal) { return pool->begin_metadata_removal(removal); });
  expect_clean();
  EXPECT_EQ(pool->free_data_blocks(), kData);
  ServedTransaction::Removal none;
  EXPECT_EQ(until_at_hand([&] { return pool->begin_metadata_removal(none); }).error().error,
            ENOENT);
}

// A reader that has few blocks at hand: those that it was asked for last.
class Narrow final : public BlockReader {
 public:
  explicit Narrow(BlockReader& device) : device_(device) {}
  uint64_t blocks() const override { return device_.blocks(); }
  Result<void> read(uint64_t number, Block block) override {
    ++reads;
    if (std::ranges::find(known_, number) != known_.end()) return device_.read(number, block);
    if (known_.size() == 64) known_.pop_front();
    known_.push_back(number);
    return fail(EAGAIN, "not at hand");
  }

  uint64_t reads = 0;

 private:
  BlockReader& device_;
  std::deque<uint64_t> known_;
};

// More bitmaps than any memory holds at once.
TEST(LargeServedPool, IsFoundToBeFull) {
  constexpr uint64_t kBitmaps = 4300;
  constexpr uint64_t kMetadata = 6000;
  VolatileBlocks empty{VolatileBlocks::Bytes(kMetadata * kBlockBytes)};
  auto made = Transaction::create(
      empty, {.metadata_blocks = kMetadata, .data_blocks = kBitmaps * kBlocksOfBitmap});
  ASSERT_TRUE(made) << made.error().text;
  ASSERT_TRUE((*made)->commit(empty));
  const auto superblock = load_superblock(empty);
  ASSERT_TRUE(superblock);
  auto bytes = empty.newest();
  const auto block = [&](uint64_t number) {
    return std::span(bytes).subspan(number * kBlockBytes).first<kBlockBytes>();
  };
  const uint64_t own = index_entry(block(superblock->metadata_space_map.index), 0).bitmap;
  for (uint64_t number = 1; number < kMetadata; ++number) {
    if (number == own || !verify(BlockKind::bitmap, number, block(number))) continue;
    for (uint32_t bit = 0; bit < kBlocksOfBitmap; ++bit) set_bitmap_count(block(number), bit, 1);
    seal(BlockKind::bitmap, number, block(number));
  }
  VolatileBlocks device(bytes);
  Narrow reader(device);
  const auto pool = until_at_hand(
      [&] { return ServedTransaction::open(reader, Transaction::Access::read_write); });
  ASSERT_TRUE(pool) << pool.error().text;
  std::array<Placing, 2> placings{};
  int error = EAGAIN;
  for (uint64_t tries = 0; error == EAGAIN && tries < 2 * kBitmaps; ++tries) {
    error = (*pool)->reserve(placings).error().error;
  }
  EXPECT_EQ(error, ENOSPC);
  reader.reads = 0;
  EXPECT_EQ((*pool)->reserve(placings).error().error, ENOSPC);
  EXPECT_LT(reader.reads, kBitmaps) << "nothing has come free meanwhile";
}

}  // namespace
}  // namespace sluice::persistent::test
