// The write-intent bitmap on the disk: which regions of the data may differ between the legs.
//
// The layout is docs/formats/mirror.md. Functions on memory, without state or I/O; they accept any
// bytes. In memory a bitmap is one run of 64-bit words: bit r % 64 of word r / 64 is region r, and
// block b holds the kIntentWords words from b * kIntentWords on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "target/mirror/identity.hpp"

namespace sluice::mirror {

inline constexpr uint32_t kIntentBlockBytes = 4096;
inline constexpr uint32_t kIntentHeaderBytes = 16;
inline constexpr uint32_t kIntentWords = (kIntentBlockBytes - kIntentHeaderBytes) / 8;
inline constexpr uint32_t kIntentRegions = kIntentWords * 64;  // of one block

inline constexpr uint32_t kRegionBytesLeast = 64 << 10;
inline constexpr uint32_t kRegionBytesMost = 1 << 30;
inline constexpr uint64_t kIntentBytesMost = 64 << 20;  // of a bitmap on the disk

// A bitmap of this array. `region_bytes` is a power of two within the limits.
struct IntentLayout {
  uint64_t data_bytes = 0;
  uint32_t region_bytes = kRegionBytesLeast;

  uint64_t regions() const { return data_bytes / region_bytes + (data_bytes % region_bytes != 0); }
  uint64_t blocks() const { return (regions() + kIntentRegions - 1) / kIntentRegions; }
  uint64_t bytes() const { return blocks() * kIntentBlockBytes; }  // on the disk
  uint64_t words() const { return blocks() * kIntentWords; }       // in memory
};

// 1 MiB as long as a bitmap of 1 MiB suffices, and then as much as it needs.
uint32_t default_region_bytes(uint64_t data_bytes);
bool is_region_size(uint64_t bytes);

// Fills `block` (kIntentBlockBytes) with block `index` of the array's bitmap. `words`:
// kIntentWords.
void encode_intent_block(const Uuid& array, uint64_t index, std::span<const uint64_t> words,
                         std::span<std::byte> block);

// The reverse. False: the block is damaged, of another array or from another place; all bits of
// `words` are then set, as all that is known of its regions is that they may differ (T3.10).
[[nodiscard]] bool decode_intent_block(const Uuid& array, uint64_t index,
                                       std::span<const std::byte> block, std::span<uint64_t> words);

// Of the first `regions` bits.
uint64_t count_dirty(std::span<const uint64_t> words, uint64_t regions);

}  // namespace sluice::mirror
