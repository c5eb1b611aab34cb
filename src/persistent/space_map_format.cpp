#include "persistent/space_map_format.hpp"

#include <cassert>

#include "core/little_endian.hpp"

namespace sluice::persistent {
namespace {

constexpr size_t kHeaderBytes = 16;  // of bitmaps and of the index
constexpr uint32_t kBlocksOfWord = 32;

constexpr size_t entry_place(uint32_t index) {
  return kHeaderBytes + size_t{index} * IndexEntry::kBytes;
}

constexpr size_t bits_place(uint32_t index) { return kHeaderBytes + index / 4; }

// The bits are in the order in which they are numbered, the higher one of a count first.
constexpr uint32_t swap_bits(uint32_t bits) { return (bits & 1) << 1 | bits >> 1; }

// Whether none of the 32 counts is 0.
bool all_used(uint64_t word) {
  constexpr uint64_t kLower = 0x5555'5555'5555'5555;
  return ((word | word >> 1) & kLower) == kLower;
}

}  // namespace

SpaceMapRoot load_space_map_root(std::span<const std::byte, SpaceMapRoot::kBytes> bytes) {
  return {.blocks = load_little_endian<uint64_t>(bytes, 0),
          .allocated = load_little_endian<uint64_t>(bytes, 8),
          .index = load_little_endian<uint64_t>(bytes, 16),
          .counts = load_little_endian<uint64_t>(bytes, 24)};
}

void store(const SpaceMapRoot& root, std::span<std::byte, SpaceMapRoot::kBytes> bytes) {
  store_little_endian(bytes, 0, root.blocks);
  store_little_endian(bytes, 8, root.allocated);
  store_little_endian(bytes, 16, root.index);
  store_little_endian(bytes, 24, root.counts);
}

IndexEntry load_index_entry(std::span<const std::byte, IndexEntry::kBytes> bytes) {
  return {.bitmap = load_little_endian<uint64_t>(bytes, 0),
          .free = load_little_endian<uint32_t>(bytes, 8),
          .none_free_before = load_little_endian<uint32_t>(bytes, 12)};
}

void store(const IndexEntry& entry, std::span<std::byte, IndexEntry::kBytes> bytes) {
  store_little_endian(bytes, 0, entry.bitmap);
  store_little_endian(bytes, 8, entry.free);
  store_little_endian(bytes, 12, entry.none_free_before);
}

IndexEntry index_entry(ConstBlock block, uint32_t index) {
  assert(index < kBitmapsOfMetadata);
  return load_index_entry(block.subspan(entry_place(index)).first<IndexEntry::kBytes>());
}

void set_index_entry(Block block, uint32_t index, const IndexEntry& entry) {
  assert(index < kBitmapsOfMetadata);
  store(entry, block.subspan(entry_place(index)).first<IndexEntry::kBytes>());
}

uint32_t bitmap_count(ConstBlock bitmap, uint32_t index) {
  assert(index < kBlocksOfBitmap);
  const auto byte = std::to_integer<uint32_t>(bitmap[bits_place(index)]);
  return swap_bits(byte >> (index % 4 * 2) & 3U);
}

void set_bitmap_count(Block bitmap, uint32_t index, uint32_t count) {
  assert(index < kBlocksOfBitmap && count <= kCountInTree);
  std::byte& byte = bitmap[bits_place(index)];
  const uint32_t shift = index % 4 * 2;
  byte &= ~static_cast<std::byte>(3U << shift);
  byte |= static_cast<std::byte>(swap_bits(count) << shift);
}

std::optional<uint32_t> find_free(ConstBlock bitmap, uint32_t begin, uint32_t end) {
  assert(end <= kBlocksOfBitmap);
  for (uint32_t index = begin; index < end;) {
    if (index % kBlocksOfWord == 0 &&
        all_used(load_little_endian<uint64_t>(bitmap, bits_place(index)))) {
      index += kBlocksOfWord;
      continue;
    }
    if (bitmap_count(bitmap, index) == 0) return index;
    ++index;
  }
  return std::nullopt;
}

}  // namespace sluice::persistent
