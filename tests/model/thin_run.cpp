#include "model/thin_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "persistent/check.hpp"
#include "persistent/devices.hpp"
#include "unit/persistent/memory_blocks.hpp"

namespace sluice::test {

using persistent::Mapping;
using persistent::Transaction;
using persistent::test::MemoryBlocks;

ThinRun::ThinRun(const Shape& shape, uint64_t seed, const WorkFolder& folder, ThinCounts& counts)
    : shape_(shape),
      random_(seed),
      folder_(folder),
      counts_(counts),
      disk_(VolatileBlocks::Bytes(shape.metadata_blocks * persistent::kBlockBytes)) {
  disk_.on_event = [this] { event(); };
}

void ThinRun::run(int transactions) {
  begin();
  for (int i = 0; i < transactions && !testing::Test::HasFailure(); ++i) {
    for (uint64_t changes = random_() % 300; changes > 0; --changes) change();
    if (!commit()) return;
    // Another program goes on, which has read nothing yet.
    if (random_() % 8 == 0) begin();
  }
  EXPECT_TRUE(disk_.orders_are_kept);
}

void ThinRun::begin() {
  if (is_new_) {
    const uint64_t part = shape_.grows ? 10 : 1;
    pool_.data_blocks = shape_.data_blocks / part;
    pool_.metadata_blocks = shape_.metadata_blocks / part;
  }
  auto opened = is_new_ ? Transaction::create(disk_, {.metadata_blocks = pool_.metadata_blocks,
                                                      .data_blocks = pool_.data_blocks})
                        : Transaction::open(disk_);
  ASSERT_TRUE(opened) << opened.error().text;
  transaction_ = std::move(*opened);
  if (shape_.fails_each == 0) return;
  disk_.fails = [this] { return random_() % shape_.fails_each == 0; };
}

// --- Changes

void ThinRun::change() {
  const uint64_t what = random_() % 100;
  if (what < 2 || pool_.devices.empty()) return make_device();
  if (what < 4) return take_snapshot();
  if (what < 5) return remove_device();
  if (what < 6) return shape_.grows ? grow() : roll_back();
  const uint64_t id = any_device();
  // Runs and scattered blocks.
  const uint64_t block = random_() % shape_.device_blocks;
  const uint64_t length = random_() % 4 == 0 ? 1 + random_() % 60 : 1;
  for (uint64_t i = 0; i < length; ++i) {
    if (what < 70) provision(id, block + i);
    if (what >= 70 && what < 90) unmap(id, block + i);
    if (what >= 90) look_up(id, block + i);
  }
}

uint64_t ThinRun::any_device() {
  return std::next(pool_.devices.begin(),
                   static_cast<std::ptrdiff_t>(random_() % pool_.devices.size()))
      ->first;
}

// False: there was no space, and nothing has changed.
bool ThinRun::done(const Result<void>& result) {
  if (result) {
    ++counts_.changes;
    return true;
  }
  ++counts_.refused;
  EXPECT_EQ(result.error().error, ENOSPC) << result.error().text;
  return false;
}

void ThinRun::make_device() {
  const uint64_t id = random_() % (2 * shape_.devices);
  if (pool_.devices.size() >= shape_.devices) return;
  if (pool_.devices.contains(id)) {
    EXPECT_EQ(transaction_->create_device(id).error().error, EEXIST);
  } else if (done(transaction_->create_device(id))) {
    pool_.devices[id] = {.snapshotted = transaction_->superblock().time};
  }
}

void ThinRun::take_snapshot() {
  const uint64_t id = random_() % (2 * shape_.devices);
  const uint64_t origin = any_device();
  if (pool_.devices.size() >= shape_.devices || pool_.devices.contains(id)) return;
  if (!done(transaction_->create_snapshot(id, origin))) return;
  pool_.devices[origin].snapshotted = transaction_->superblock().time;
  pool_.devices[id] = pool_.devices[origin];
}

void ThinRun::remove_device() {
  const uint64_t id = any_device();
  auto removed = transaction_->remove_device(id);
  if (!removed && removed.error().error == ENOSPC) {
    // What others have freed in this transaction is there after a commit.
    ASSERT_TRUE(commit() || shape_.fails_each != 0);
    removed = transaction_->remove_device(id);
  }
  ASSERT_TRUE(removed) << removed.error().text;
  ++counts_.changes;
  pool_.devices.erase(id);
  EXPECT_EQ(transaction_->remove_device(3 * shape_.devices).error().error, ENODEV);
}

void ThinRun::roll_back() {
  const uint64_t id = any_device();
  const uint64_t snapshot = any_device();
  if (id == snapshot) {
    EXPECT_EQ(transaction_->roll_back(id, snapshot).error().error, EINVAL);
    return;
  }
  if (!done(transaction_->roll_back(id, snapshot))) return;
  pool_.devices[snapshot].snapshotted = transaction_->superblock().time;
  pool_.devices[id] = pool_.devices[snapshot];
}

void ThinRun::grow() {
  const uint64_t data = pool_.data_blocks + random_() % (shape_.data_blocks / 20);
  EXPECT_EQ(transaction_->grow_data(pool_.data_blocks - 1).error().error, EINVAL);
  EXPECT_EQ(transaction_->grow_metadata(shape_.metadata_blocks + 1).error().error, EINVAL);
  if (data <= shape_.data_blocks && done(transaction_->grow_data(data))) pool_.data_blocks = data;
  const uint64_t metadata = pool_.metadata_blocks + random_() % (shape_.metadata_blocks / 20);
  if (metadata > shape_.metadata_blocks) return;
  if (done(transaction_->grow_metadata(metadata))) pool_.metadata_blocks = metadata;
}

// The block was free in this transaction, and is in the last one: its content there is needed after
// a power cut.
void ThinRun::provision(uint64_t id, uint64_t block) {
  const auto data_block = transaction_->provision(id, block);
  if (!done(data_block ? Result<void>() : std::unexpected(data_block.error()))) return;
  EXPECT_LT(*data_block, pool_.data_blocks);
  if (random_() % 16 == 0) {
    EXPECT_FALSE(is_in_use(pool_, *data_block)) << *data_block;
    EXPECT_FALSE(is_in_use(committed_, *data_block)) << *data_block;
  }
  pool_.devices[id].mappings[block] = {.data_block = *data_block,
                                       .time = transaction_->superblock().time};
}

void ThinRun::unmap(uint64_t id, uint64_t block) {
  const auto unmapped = transaction_->unmap(id, block);
  if (!done(unmapped ? Result<void>() : std::unexpected(unmapped.error()))) return;
  EXPECT_EQ(*unmapped, pool_.devices[id].mappings.erase(block) == 1);
}

void ThinRun::look_up(uint64_t id, uint64_t block) {
  const auto found = transaction_->find(id, block);
  ASSERT_TRUE(found) << found.error().text;
  const Mappings& mappings = pool_.devices[id].mappings;
  const auto expected = mappings.find(block);
  ASSERT_EQ(found->has_value(), expected != mappings.end()) << id << " " << block;
  if (!*found) return;
  EXPECT_EQ(**found, expected->second);
  EXPECT_EQ(transaction_->is_shared(id, **found),
            expected->second.time < pool_.devices[id].snapshotted);
}

bool ThinRun::is_in_use(const Pool& pool, uint64_t data_block) const {
  return std::ranges::any_of(pool.devices, [&](const auto& device) {
    return std::ranges::any_of(device.second.mappings, [&](const auto& mapping) {
      return mapping.second.data_block == data_block;
    });
  });
}

// --- Commits and cuts

bool ThinRun::commit() {
  is_committing_ = true;
  superblock_began_ = false;
  const auto committed = transaction_->commit(disk_);
  is_committing_ = false;
  if (!committed) {
    EXPECT_NE(shape_.fails_each, 0) << committed.error().text;
    // Which state is on the device, nobody knows; nothing more is written (T6.3).
    EXPECT_TRUE(transaction_->failed());
    EXPECT_EQ(transaction_->create_device(99).error().error, EIO);
    EXPECT_EQ(transaction_->commit(disk_).error().error, EIO);
    if (!is_new_) examine(disk_.after_cut(random_), true);
    return false;
  }
  ++counts_.commits;
  is_new_ = false;
  committed_ = pool_;
  examine(disk_.newest(), false);
  return true;
}

void ThinRun::event() {
  if (!is_committing_ || is_new_ || testing::Test::HasFailure()) return;
  if (random_() % shape_.cuts_each != 0) return;
  ++counts_.cuts;
  examine(disk_.after_cut(random_), true);
}

// Exactly one of the states, without a leak (T6.14).
void ThinRun::examine(const VolatileBlocks::Bytes& left, bool may_be_new) {
  MemoryBlocks blocks(left);
  const auto checked = persistent::check(blocks, {});
  ASSERT_TRUE(checked) << checked.error().text;
  ASSERT_TRUE(checked->clean()) << checked->sentences.front();
  const Pool found = read(blocks);
  const auto same = [&](const Pool& expected) {
    return found.data_blocks == expected.data_blocks &&
           found.metadata_blocks == expected.metadata_blocks &&
           std::ranges::equal(found.devices, expected.devices,
                              [](const auto& one, const auto& other) {
                                return one.first == other.first &&
                                       one.second.snapshotted == other.second.snapshotted &&
                                       one.second.mappings == other.second.mappings;
                              });
  };
  EXPECT_TRUE(same(committed_) || (may_be_new && same(pool_))) << "another state is on the device";
  if (random_() % shape_.judge_each == 0) judge(left);
}

void ThinRun::judge(const VolatileBlocks::Bytes& left) {
  folder_.write("metadata", left);
  ASSERT_EQ(folder_.run("thin_check metadata"), 0) << folder_.output();
  ++counts_.judged;
}

ThinRun::Pool ThinRun::read(persistent::BlockReader& reader) {
  Pool pool;
  const auto superblock = persistent::load_superblock(reader);
  pool.data_blocks = superblock->data_space_map.blocks;
  pool.metadata_blocks = superblock->metadata_space_map.blocks;
  EXPECT_EQ(superblock->metadata_blocks, pool.metadata_blocks);
  const auto devices = persistent::read_devices(reader, *superblock);
  EXPECT_TRUE(devices) << devices.error().text;
  if (!devices) return pool;
  for (const persistent::ThinDevice& device : *devices) {
    Device& found = pool.devices[device.id];
    found.snapshotted = device.details.snapshotted_time;
    const auto done =
        persistent::for_each_run(reader, device.root, [&](const persistent::MappedRun& run) {
          for (uint64_t i = 0; i < run.length; ++i) {
            found.mappings[run.device_block + i] = {.data_block = run.data_block + i,
                                                    .time = run.time};
          }
        });
    EXPECT_TRUE(done) << done.error().text;
  }
  return pool;
}

}  // namespace sluice::test
