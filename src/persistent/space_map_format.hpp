// The blocks of a space map: bitmaps, and the index of the metadata space map.
//
// The layout is docs/formats/thin.md. Functions on memory, without state or I/O.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "persistent/block.hpp"

namespace sluice::persistent {

inline constexpr uint32_t kBlocksOfBitmap = (kBlockBytes - 16) * 4;
inline constexpr uint32_t kBitmapsOfMetadata = 255;
// What the kernel uses of a metadata device.
inline constexpr uint64_t kMetadataBlocksMost = uint64_t{kBitmapsOfMetadata} * kBlocksOfBitmap;
// In a bitmap: the count is in the tree of reference counts.
inline constexpr uint32_t kCountInTree = 3;
inline constexpr uint32_t kReferenceCountBytes = 4;

struct SpaceMapRoot {
  static constexpr size_t kBytes = 32;

  uint64_t blocks = 0;
  uint64_t allocated = 0;  // with a count of 1 or more
  uint64_t index = 0;      // the block of it: a B-tree, or the index of the metadata
  uint64_t counts = 0;     // the root of the tree of reference counts

  // How many the index has.
  uint64_t bitmaps() const {
    return blocks / kBlocksOfBitmap + (blocks % kBlocksOfBitmap != 0 ? 1 : 0);
  }
  bool operator==(const SpaceMapRoot&) const = default;
};

SpaceMapRoot load_space_map_root(std::span<const std::byte, SpaceMapRoot::kBytes> bytes);
void store(const SpaceMapRoot& root, std::span<std::byte, SpaceMapRoot::kBytes> bytes);

struct IndexEntry {
  static constexpr size_t kBytes = 16;

  uint64_t bitmap = 0;            // its block
  uint32_t free = 0;              // blocks with a count of 0
  uint32_t none_free_before = 0;  // a hint

  bool operator==(const IndexEntry&) const = default;
};

IndexEntry load_index_entry(std::span<const std::byte, IndexEntry::kBytes> bytes);
void store(const IndexEntry& entry, std::span<std::byte, IndexEntry::kBytes> bytes);

// Of the index of the metadata; `index` is less than kBitmapsOfMetadata.
IndexEntry index_entry(ConstBlock block, uint32_t index);
void set_index_entry(Block block, uint32_t index, const IndexEntry& entry);

// The bits of a block in a bitmap: 0 to 3. `index` is less than kBlocksOfBitmap.
uint32_t bitmap_count(ConstBlock bitmap, uint32_t index);
void set_bitmap_count(Block bitmap, uint32_t index, uint32_t count);

// The first block from `begin` to before `end` whose count is 0.
std::optional<uint32_t> find_free(ConstBlock bitmap, uint32_t begin, uint32_t end);

}  // namespace sluice::persistent
