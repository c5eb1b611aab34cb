#include "target/thin/mapping_cache.hpp"

#include <bit>

namespace sluice::thin {
namespace {

constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;  // 2^64 divided by the golden ratio

uint64_t sets_for(uint64_t bytes, size_t set_bytes) {
  const uint64_t sets = bytes / set_bytes;
  return sets <= 1 ? 1 : std::bit_floor(sets);
}

}  // namespace

MappingCache::MappingCache(uint64_t bytes)
    : frames_(sets_for(bytes, kWays * sizeof(Frame)) * kWays),
      sets_mask_(frames_.size() / kWays - 1) {}

size_t MappingCache::first_way(uint64_t volume, uint64_t number) const {
  const uint64_t mixed = (number + std::rotl(volume, 24)) * kSpread;
  return (mixed >> 32 & sets_mask_) * kWays;
}

std::optional<Place> MappingCache::find(VolumeView volume, uint64_t block) const {
  const uint64_t number = block / kGroup;
  const size_t first = first_way(volume.word(), number);
  for (size_t i = first; i < first + kWays; ++i) {
    const Frame& frame = frames_[i];
    if (frame.volume.load(std::memory_order_relaxed) != volume.word()) continue;
    if (frame.number.load(std::memory_order_relaxed) != number) continue;
    const uint64_t sequence = frame.sequence.load(std::memory_order_acquire);
    // Acquire: what is compared below is loaded after these and the place.
    const bool is_there = frame.volume.load(std::memory_order_acquire) == volume.word() &&
                          frame.number.load(std::memory_order_acquire) == number;
    const uint64_t word = frame.places[block % kGroup].load(std::memory_order_acquire);
    const bool is_whole =
        sequence % 2 == 0 && frame.sequence.load(std::memory_order_relaxed) == sequence;
    if (is_there && is_whole) return Place::from(word);
  }
  return std::nullopt;
}

MappingCache::Frame* MappingCache::find_frame(uint64_t volume, uint64_t number) {
  const size_t first = first_way(volume, number);
  for (size_t i = first; i < first + kWays; ++i) {
    const Frame& frame = frames_[i];
    const bool is_it = frame.volume.load(std::memory_order_relaxed) == volume &&
                       frame.number.load(std::memory_order_relaxed) == number;
    if (is_it) return &frames_[i];
  }
  return nullptr;
}

void MappingCache::put(VolumeView volume, uint64_t block, const Group& group) {
  const uint64_t number = block / kGroup;
  Frame* frame = find_frame(volume.word(), number);
  if (frame == nullptr) {
    frame = &frames_[first_way(volume.word(), number) + next_way_++ % kWays];
  }
  const uint64_t sequence = frame->sequence.load(std::memory_order_relaxed);
  // All stores below release: whoever sees one of them sees that the sequence is odd.
  frame->sequence.store(sequence + 1, std::memory_order_relaxed);
  frame->volume.store(volume.word(), std::memory_order_release);
  frame->number.store(number, std::memory_order_release);
  for (size_t i = 0; i < kGroup; ++i) {
    frame->places[i].store(group[i].word(), std::memory_order_release);
  }
  frame->sequence.store(sequence + 2, std::memory_order_release);
}

void MappingCache::change(VolumeView volume, uint64_t block, Place place) {
  Frame* const frame = find_frame(volume.word(), block / kGroup);
  if (frame == nullptr) return;
  frame->places[block % kGroup].store(place.word(), std::memory_order_release);
}

}  // namespace sluice::thin
