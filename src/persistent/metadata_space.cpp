#include "persistent/metadata_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "persistent/superblock.hpp"

namespace sluice::persistent {
namespace {

constexpr uint64_t kFewestOfCounts = node_capacity(kReferenceCountBytes) / 3;

std::unexpected<Error> beyond(uint64_t block, uint64_t blocks) {
  return fail(EILSEQ, fmt::format("there is no block {}: the metadata has {}", block, blocks));
}

}  // namespace

Result<void> MetadataSpace::load(const SpaceMapRoot& root) {
  root_ = root;
  if (root.blocks > kMetadataBlocksMost) return beyond(root.blocks - 1, kMetadataBlocksMost);
  const auto index = blocks_.read(root.index, BlockKind::index);
  if (!index) return std::unexpected(index.error());
  before_.clear();
  used_before_.assign(root.blocks, false);
  in_tree_before_ = 0;
  root_.allocated = 0;
  for (uint32_t i = 0; i < root.bitmaps(); ++i) {
    before_.push_back(index_entry(*index, i));
    const auto bitmap = blocks_.read(before_.back().bitmap, BlockKind::bitmap);
    if (!bitmap) return std::unexpected(bitmap.error());
    const uint64_t first = uint64_t{i} * kBlocksOfBitmap;
    const uint64_t length = std::min<uint64_t>(kBlocksOfBitmap, root.blocks - first);
    for (uint32_t bit = 0; bit < length; ++bit) {
      const uint32_t count = bitmap_count(*bitmap, bit);
      if (count == 0) continue;
      used_before_[first + bit] = true;
      ++root_.allocated;
      if (count == kCountInTree) ++in_tree_before_;
    }
  }
  return {};
}

Result<void> MetadataSpace::create(uint64_t blocks) {
  root_ = {.blocks = blocks};
  before_.assign(root_.bitmaps(), {});
  used_before_.assign(blocks, false);
  set(kSuperblockNumber, 0, 1);
  return {};
}

void MetadataSpace::grow(uint64_t blocks) {
  if (!grown_ && root_.blocks % kBlocksOfBitmap != 0 && blocks != root_.blocks) {
    grown_ = static_cast<uint32_t>(root_.blocks / kBlocksOfBitmap);
  }
  root_.blocks = blocks;
  before_.resize(root_.bitmaps());
  used_before_.resize(blocks, false);
}

// The bitmaps, the index, and the tree of counts, of which all nodes may be copied, and new ones
// made for all counts that do not fit into bitmaps now or before.
uint64_t MetadataSpace::held_back() const {
  constexpr uint64_t kRootAndLevels = 4;
  const uint64_t leaves = (in_tree_before_ + new_in_tree_) / kFewestOfCounts;
  const uint64_t nodes = leaves == 0 ? 1 : leaves + leaves / 40 + kRootAndLevels;
  return root_.bitmaps() + 1 + 2 * nodes;
}

Result<uint64_t> MetadataSpace::allocate() {
  const uint64_t kept = held_back() + (operation_frees_ ? 0 : std::min(reserve_, root_.blocks / 4));
  if (!is_committing_ && free() <= kept) {
    return fail(ENOSPC, fmt::format("the metadata is full: {} of its {} blocks are free, and they "
                                    "are kept for commits and for deletions",
                                    free(), root_.blocks));
  }
  for (uint64_t tried = 0; tried < root_.blocks; ++tried) {
    const uint64_t block = (cursor_ + tried) % root_.blocks;
    if (used_before_[block]) continue;
    const auto changed = changes_.find(block);
    if (changed != changes_.end() && changed->second.now != 0) continue;
    cursor_ = block + 1;
    set(block, 0, 1);
    return block;
  }
  return fail(ENOSPC, fmt::format("all {} blocks of the metadata are in use", root_.blocks));
}

Result<uint64_t> MetadataSpace::count(uint64_t block) {
  const auto changed = changes_.find(block);
  if (changed != changes_.end()) return changed->second.now;
  return count_before(block);
}

Result<void> MetadataSpace::change(uint64_t block, int by) {
  if (block >= root_.blocks) return beyond(block, root_.blocks);
  const auto changed = changes_.find(block);
  Change counts;
  if (changed != changes_.end()) {
    counts = changed->second;
  } else {
    const auto before = count_before(block);
    if (!before) return std::unexpected(before.error());
    counts = {*before, *before};
  }
  if (by < 0 && counts.now == 0) {
    return fail(EILSEQ, fmt::format("block {} is in use, and its count is 0", block));
  }
  if (by > 0 && counts.now == UINT32_MAX) {
    return fail(EOVERFLOW, fmt::format("block {} has too many references", block));
  }
  set(block, counts.before, by > 0 ? counts.now + 1 : counts.now - 1);
  return {};
}

Result<uint64_t> MetadataSpace::count_before(uint64_t block) {
  if (block >= root_.blocks) return beyond(block, root_.blocks);
  if (!used_before_[block]) return 0;
  const IndexEntry& entry = before_[block / kBlocksOfBitmap];
  const auto bitmap = blocks_.read(entry.bitmap, BlockKind::bitmap);
  if (!bitmap) return std::unexpected(bitmap.error());
  const uint32_t bits = bitmap_count(*bitmap, block % kBlocksOfBitmap);
  if (bits != kCountInTree) return bits;
  const auto found = counts_.find(root_.counts, block);
  if (!found) return std::unexpected(found.error());
  if (*found) return load_little_endian<uint32_t>(**found, 0);
  return fail(EILSEQ, fmt::format("block {} has no count in the tree of counts", block));
}

void MetadataSpace::set(uint64_t block, uint64_t before, uint64_t now) {
  const auto [changed, is_new] = changes_.try_emplace(block, Change{before, before});
  Change& counts = changed->second;
  undo_.push_back({block, counts.now});
  if (counts.before == 0) {
    if (counts.now == 0 && now != 0) ++taken_;
    if (counts.now != 0 && now == 0) --taken_;
  }
  if (counts.before < kCountInTree) {
    if (counts.now < kCountInTree && now >= kCountInTree) ++new_in_tree_;
    if (counts.now >= kCountInTree && now < kCountInTree) --new_in_tree_;
  }
  counts.now = now;
  if (is_committing_) pending_.insert(block);
}

void MetadataSpace::roll_back() {
  is_committing_ = false;
  const std::vector<Undo> undone = std::move(undo_);
  for (auto undo = undone.rbegin(); undo != undone.rend(); ++undo) {
    set(undo->block, 0, undo->now);  // it is among the changes
  }
  undo_.clear();
}

Result<SpaceMapRoot> MetadataSpace::commit() {
  is_committing_ = true;
  pending_.clear();
  index_ = before_;
  shadowed_.assign(index_.size(), false);
  counts_root_ = root_.counts;
  for (const auto& [block, change] : changes_) pending_.insert(block);
  if (counts_root_ == 0) {
    const auto made = counts_.create();
    if (!made) return std::unexpected(made.error());
    counts_root_ = *made;
  }
  // Those of new blocks.
  for (uint32_t i = 0; i < index_.size(); ++i) {
    if (index_[i].bitmap != 0 && i != grown_) continue;
    if (auto made = shadow_bitmap(i); !made) return std::unexpected(made.error());
  }
  const auto index_block = allocate();
  if (!index_block) return std::unexpected(index_block.error());
  index_block_ = *index_block;
  if (root_.index != 0) {
    if (auto released = decrease(root_.index); !released) {
      return std::unexpected(released.error());
    }
  }
  while (!pending_.empty()) {
    const uint64_t block = *pending_.begin();
    const auto bitmap = shadow_bitmap(static_cast<uint32_t>(block / kBlocksOfBitmap));
    if (!bitmap) return std::unexpected(bitmap.error());
    pending_.erase(block);
    if (auto applied = apply(block, *bitmap); !applied) {
      return std::unexpected(applied.error());
    }
  }
  if (auto written = write_index(); !written) return std::unexpected(written.error());
  return sums();
}

Result<Block> MetadataSpace::shadow_bitmap(uint32_t number) {
  IndexEntry& entry = index_[number];
  if (shadowed_[number]) return blocks_.change(entry.bitmap);
  const auto copy = allocate();
  if (!copy) return std::unexpected(copy.error());
  const Block block = blocks_.make(*copy, BlockKind::bitmap);
  if (entry.bitmap != 0) {
    const auto old = blocks_.read(entry.bitmap, BlockKind::bitmap);
    if (!old) return std::unexpected(old.error());
    std::ranges::copy(*old, block.begin());
    if (auto released = decrease(entry.bitmap); !released) {
      return std::unexpected(released.error());
    }
  }
  entry.bitmap = *copy;
  shadowed_[number] = true;
  return block;
}

// Inserting into the tree of counts may change other counts, and this one is pending again.
Result<void> MetadataSpace::apply(uint64_t block, Block bitmap) {
  const auto bit = static_cast<uint32_t>(block % kBlocksOfBitmap);
  const uint64_t now = changes_.at(block).now;
  const bool was_in_tree = bitmap_count(bitmap, bit) == kCountInTree;
  set_bitmap_count(bitmap, bit, static_cast<uint32_t>(std::min<uint64_t>(now, kCountInTree)));
  if (now >= kCountInTree) {
    std::array<std::byte, kReferenceCountBytes> value;
    store_little_endian(value, 0, static_cast<uint32_t>(now));
    const auto inserted = counts_.insert(counts_root_, block, value);
    if (!inserted) return std::unexpected(inserted.error());
  } else if (was_in_tree) {
    const auto removed = counts_.remove(counts_root_, block);
    if (!removed) return std::unexpected(removed.error());
  }
  return {};
}

Result<void> MetadataSpace::write_index() {
  const Block block = blocks_.make(index_block_, BlockKind::index);
  for (uint32_t i = 0; i < index_.size(); ++i) {
    IndexEntry& entry = index_[i];
    if (shadowed_[i]) {
      const uint64_t first = uint64_t{i} * kBlocksOfBitmap;
      const auto length =
          static_cast<uint32_t>(std::min<uint64_t>(kBlocksOfBitmap, root_.blocks - first));
      const auto bitmap = blocks_.read(entry.bitmap, BlockKind::bitmap);
      if (!bitmap) return std::unexpected(bitmap.error());
      entry.none_free_before = find_free(*bitmap, 0, length).value_or(length);
      entry.free = 0;
      for (uint32_t bit = entry.none_free_before; bit < length; ++bit) {
        if (bitmap_count(*bitmap, bit) == 0) ++entry.free;
      }
    }
    set_index_entry(block, i, entry);
  }
  return {};
}

SpaceMapRoot MetadataSpace::sums() const {
  SpaceMapRoot root{.blocks = root_.blocks,
                    .allocated = root_.allocated,
                    .index = index_block_,
                    .counts = counts_root_};
  for (const auto& [block, change] : changes_) {
    if (change.before == 0 && change.now != 0) ++root.allocated;
    if (change.before != 0 && change.now == 0) --root.allocated;
  }
  return root;
}

void MetadataSpace::begin_transaction(const SpaceMapRoot& root) {
  for (const auto& [block, change] : changes_) {
    used_before_[block] = change.now != 0;
    if (change.before >= kCountInTree && change.now < kCountInTree) --in_tree_before_;
  }
  in_tree_before_ += new_in_tree_;
  new_in_tree_ = 0;
  root_ = root;
  before_ = index_;
  changes_.clear();
  undo_.clear();
  taken_ = 0;
  grown_.reset();
  is_committing_ = false;
}

}  // namespace sluice::persistent
