#include "target/mirror/write_intent_format.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cassert>

#include "core/little_endian.hpp"

namespace sluice::mirror {
namespace {

constexpr size_t kSumAt = 0;
constexpr size_t kIndexAt = 8;

constexpr uint32_t kUsualRegionBytes = 1 << 20;
constexpr uint64_t kUsualBytesMost = 1 << 20;  // of a bitmap

// The checksum of all behind it. The seed depends on the array: a leftover block of a former array
// is damaged in this one.
uint64_t sum_of(const Uuid& array, uint64_t index, std::span<const std::byte> block) {
  const uint64_t seed = XXH3_64bits_withSeed(array.bytes.data(), array.bytes.size(), index);
  const auto summed = block.subspan(kIndexAt);
  return XXH3_64bits_withSeed(summed.data(), summed.size(), seed);
}

}  // namespace

uint32_t default_region_bytes(uint64_t data_bytes) {
  uint32_t region = kUsualRegionBytes;
  while (region < kRegionBytesMost && IntentLayout{data_bytes, region}.bytes() > kUsualBytesMost) {
    region *= 2;
  }
  return region;
}

bool is_region_size(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kRegionBytesLeast && bytes <= kRegionBytesMost;
}

void encode_intent_block(const Uuid& array, uint64_t index, std::span<const uint64_t> words,
                         std::span<std::byte> block) {
  assert(words.size() == kIntentWords && block.size() == kIntentBlockBytes);
  store_little_endian(block, kIndexAt, index);
  for (size_t i = 0; i < words.size(); ++i) {
    store_little_endian(block, kIntentHeaderBytes + i * 8, words[i]);
  }
  store_little_endian(block, kSumAt, sum_of(array, index, block));
}

bool decode_intent_block(const Uuid& array, uint64_t index, std::span<const std::byte> block,
                         std::span<uint64_t> words) {
  assert(words.size() == kIntentWords);
  if (block.size() != kIntentBlockBytes || load_little_endian<uint64_t>(block, kIndexAt) != index ||
      load_little_endian<uint64_t>(block, kSumAt) != sum_of(array, index, block)) {
    std::ranges::fill(words, ~uint64_t{0});
    return false;
  }
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = load_little_endian<uint64_t>(block, kIntentHeaderBytes + i * 8);
  }
  return true;
}

uint64_t count_dirty(std::span<const uint64_t> words, uint64_t regions) {
  uint64_t count = 0;
  for (size_t i = 0; i < words.size() && i * 64 < regions; ++i) {
    const uint64_t left = regions - i * 64;
    const uint64_t mask = left < 64 ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
    count += static_cast<uint64_t>(std::popcount(words[i] & mask));
  }
  return count;
}

}  // namespace sluice::mirror
