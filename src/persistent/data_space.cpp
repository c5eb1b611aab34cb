#include "persistent/data_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sluice::persistent {
namespace {

uint32_t blocks_of_bitmap(const SpaceMapRoot& root, uint64_t index) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(kBlocksOfBitmap, root.blocks - index * kBlocksOfBitmap));
}

}  // namespace

DataSpace::DataSpace(TransactionBlocks& blocks, BlockSpace& metadata, const SpaceMapRoot& last)
    : blocks_(blocks),
      metadata_(metadata),
      index_(blocks, metadata, IndexEntry::kBytes),
      counts_(blocks, metadata, kReferenceCountBytes),
      root_(last),
      last_(last) {}

Result<void> DataSpace::create(uint64_t data_blocks) {
  const auto index = index_.create();
  if (!index) return std::unexpected(index.error());
  const auto counts = counts_.create();
  if (!counts) return std::unexpected(counts.error());
  root_ = {.blocks = data_blocks, .index = *index, .counts = *counts};
  return add_bitmaps(0);
}

// The bits behind the last block of the last bitmap are zeroes; whether they were counted as free
// depends on who wrote it.
Result<void> DataSpace::grow(uint64_t data_blocks) {
  const uint64_t bitmaps = root_.bitmaps();
  root_.blocks = data_blocks;
  has_none_.clear();
  if (bitmaps != 0) {
    auto last = find(root_, (bitmaps - 1) * kBlocksOfBitmap);
    if (!last) return std::unexpected(last.error());
    const auto bitmap = blocks_.read(last->entry.bitmap, BlockKind::bitmap);
    if (!bitmap) return std::unexpected(bitmap.error());
    const uint32_t length = blocks_of_bitmap(root_, last->index);
    last->entry.none_free_before = find_free(*bitmap, 0, length).value_or(length);
    last->entry.free = 0;
    for (uint32_t bit = last->entry.none_free_before; bit < length; ++bit) {
      if (bitmap_count(*bitmap, bit) == 0) ++last->entry.free;
    }
    std::array<std::byte, IndexEntry::kBytes> value;
    store(last->entry, value);
    const auto inserted = index_.insert(root_.index, last->index, value);
    if (!inserted) return std::unexpected(inserted.error());
  }
  return add_bitmaps(bitmaps);
}

Result<void> DataSpace::add_bitmaps(uint64_t first) {
  for (uint64_t i = first; i < root_.bitmaps(); ++i) {
    const auto bitmap = metadata_.allocate();
    if (!bitmap) return std::unexpected(bitmap.error());
    blocks_.make(*bitmap, BlockKind::bitmap);
    std::array<std::byte, IndexEntry::kBytes> value;
    store({.bitmap = *bitmap, .free = blocks_of_bitmap(root_, i)}, value);
    const auto inserted = index_.insert(root_.index, i, value);
    if (!inserted) return std::unexpected(inserted.error());
  }
  return {};
}

Result<uint64_t> DataSpace::allocate() {
  const auto found = find_unused();
  if (!found) return found;
  if (auto used = set(*found, 0, 1); !used) return std::unexpected(used.error());
  return found;
}

Result<uint64_t> DataSpace::reserve() {
  const auto found = find_unused();
  if (found) reserved_.insert(*found);
  return found;
}

// Other programs may have left a sum in the index that is too low: it is only trusted as long as
// something is found.
Result<uint64_t> DataSpace::find_unused() {
  for (const bool trusting : {true, false}) {
    const uint64_t bitmaps = root_.bitmaps();
    for (uint64_t tried = 0; tried <= bitmaps && bitmaps != 0; ++tried) {
      const uint64_t index = (cursor_ / kBlocksOfBitmap + tried) % bitmaps;
      const auto begin = tried == 0 ? static_cast<uint32_t>(cursor_ % kBlocksOfBitmap) : 0;
      const auto found = find_free_in(index, begin, trusting);
      if (!found) return std::unexpected(found.error());
      if (!*found) continue;
      cursor_ = (**found + 1) % root_.blocks;
      return **found;
    }
  }
  return fail(ENOSPC, fmt::format("all {} data blocks are in use", root_.blocks));
}

Result<std::optional<uint64_t>> DataSpace::find_free_in(uint64_t index, uint32_t begin,
                                                        bool trusting) {
  if (has_none_.contains(index)) return std::nullopt;
  const uint64_t first = index * kBlocksOfBitmap;
  const auto now = find(root_, first);
  if (!now) return std::unexpected(now.error());
  if (trusting && now->entry.free == 0) return std::nullopt;
  const auto bitmap = blocks_.read(now->entry.bitmap, BlockKind::bitmap);
  if (!bitmap) return std::unexpected(bitmap.error());
  std::optional<ConstBlock> before;
  if (first < last_.blocks) {
    const auto last = find(last_, first);
    if (!last) return std::unexpected(last.error());
    const auto old = blocks_.read(last->entry.bitmap, BlockKind::bitmap);
    if (!old) return std::unexpected(old.error());
    before = *old;
  }
  const uint32_t end = blocks_of_bitmap(root_, index);
  for (auto bit = find_free(*bitmap, begin, end); bit; bit = find_free(*bitmap, *bit + 1, end)) {
    if (before && bitmap_count(*before, *bit) != 0) continue;
    if (!reserved_.contains(first + *bit)) return first + *bit;
  }
  if (begin == 0) has_none_.insert(index);
  return std::nullopt;
}

void DataSpace::begin_transaction() {
  last_ = root_;
  for (const uint64_t index : frees_) has_none_.erase(index);
  frees_.clear();
}

Result<uint64_t> DataSpace::count(uint64_t block) {
  const auto place = find(root_, block);
  if (!place) return std::unexpected(place.error());
  return count_at(root_, *place, block);
}

Result<void> DataSpace::increase(std::span<const std::byte> value) {
  return change(Mapping::from(load_little_endian<uint64_t>(value, 0)).data_block, 1);
}

Result<void> DataSpace::decrease(std::span<const std::byte> value) {
  return change(Mapping::from(load_little_endian<uint64_t>(value, 0)).data_block, -1);
}

Result<void> DataSpace::change(uint64_t block, int by) {
  const auto before = count(block);
  if (!before) return std::unexpected(before.error());
  if (by < 0 && *before == 0) {
    return fail(EILSEQ, fmt::format("data block {} is mapped, and its count is 0", block));
  }
  if (by > 0 && *before == UINT32_MAX) {
    return fail(EOVERFLOW, fmt::format("data block {} has too many references", block));
  }
  return set(block, *before, by > 0 ? *before + 1 : *before - 1);
}

Result<void> DataSpace::set(uint64_t block, uint64_t before, uint64_t now) {
  auto place = find(root_, block);
  if (!place) return std::unexpected(place.error());
  IndexEntry entry = place->entry;
  const auto bitmap = shadow(entry);
  if (!bitmap) return std::unexpected(bitmap.error());
  set_bitmap_count(*bitmap, place->bit,
                   static_cast<uint32_t>(std::min<uint64_t>(now, kCountInTree)));
  if (before == 0) {
    ++root_.allocated;
    if (entry.free != 0) --entry.free;
    if (entry.none_free_before == place->bit) entry.none_free_before = place->bit + 1;
  } else if (now == 0) {
    --root_.allocated;
    ++entry.free;
    frees_.insert(place->index);
    entry.none_free_before = std::min(entry.none_free_before, place->bit);
  }
  if (entry != place->entry) {
    std::array<std::byte, IndexEntry::kBytes> value;
    store(entry, value);
    const auto inserted = index_.insert(root_.index, place->index, value);
    if (!inserted) return std::unexpected(inserted.error());
  }
  if (now >= kCountInTree) {
    std::array<std::byte, kReferenceCountBytes> value;
    store_little_endian(value, 0, static_cast<uint32_t>(now));
    const auto inserted = counts_.insert(root_.counts, block, value);
    if (!inserted) return std::unexpected(inserted.error());
  } else if (before >= kCountInTree) {
    const auto removed = counts_.remove(root_.counts, block);
    if (!removed) return std::unexpected(removed.error());
  }
  return {};
}

Result<DataSpace::Place> DataSpace::find(const SpaceMapRoot& root, uint64_t block) {
  if (block >= root.blocks) {
    return fail(EILSEQ,
                fmt::format("there is no data block {}: the pool has {}", block, root.blocks));
  }
  const uint64_t index = block / kBlocksOfBitmap;
  const auto value = index_.find(root.index, index);
  if (!value) return std::unexpected(value.error());
  if (!*value) {
    return fail(EILSEQ, fmt::format("the data space map has no bitmap {}", index));
  }
  return Place{index, static_cast<uint32_t>(block % kBlocksOfBitmap),
               load_index_entry((*value)->first<IndexEntry::kBytes>())};
}

Result<uint64_t> DataSpace::count_at(const SpaceMapRoot& root, const Place& place, uint64_t block) {
  const auto bitmap = blocks_.read(place.entry.bitmap, BlockKind::bitmap);
  if (!bitmap) return std::unexpected(bitmap.error());
  const uint32_t bits = bitmap_count(*bitmap, place.bit);
  if (bits != kCountInTree) return bits;
  const auto found = counts_.find(root.counts, block);
  if (!found) return std::unexpected(found.error());
  if (*found) return load_little_endian<uint32_t>(**found, 0);
  return fail(EILSEQ, fmt::format("data block {} has no count in the tree of counts", block));
}

// A bitmap has one reference, from the index.
Result<Block> DataSpace::shadow(IndexEntry& entry) {
  if (blocks_.is_new(entry.bitmap)) return blocks_.change(entry.bitmap);
  const auto old = blocks_.read(entry.bitmap, BlockKind::bitmap);
  if (!old) return std::unexpected(old.error());
  const auto copy = metadata_.allocate();
  if (!copy) return std::unexpected(copy.error());
  const Block block = blocks_.make(*copy, BlockKind::bitmap);
  std::ranges::copy(*old, block.begin());
  if (auto released = metadata_.decrease(entry.bitmap); !released) {
    return std::unexpected(released.error());
  }
  entry.bitmap = *copy;
  return block;
}

}  // namespace sluice::persistent
