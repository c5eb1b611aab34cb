#include "target/mirror/regions.hpp"

#include <bit>
#include <cassert>

namespace sluice::mirror {

Regions::Regions(uint64_t size_bytes, uint64_t region_bytes, uint64_t capacity)
    : region_bytes_(region_bytes), shift_(std::countr_zero(region_bytes)), words_(capacity) {
  assert(std::has_single_bit(region_bytes));
  set_size(size_bytes);
}

void Regions::set_size(uint64_t size_bytes) {
  const uint64_t next = (size_bytes + region_bytes_ - 1) >> shift_;
  for (uint64_t region = next; region < count(); ++region) words_[region] = 0;
  count_ = next;
}

bool Regions::begin_write(uint64_t first, uint64_t last) {
  uint32_t all = kDurable;
  for (uint64_t region = first; region <= last; ++region) {
    std::atomic<uint32_t>& word = words_[region];
    uint32_t was = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(was, (was + 1) | kDirty | kTouched)) {
    }
    all &= was;
  }
  return all != 0;
}

void Regions::end_write(uint64_t first, uint64_t last) {
  for (uint64_t region = first; region <= last; ++region) {
    words_[region].fetch_sub(1, std::memory_order_release);
  }
}

bool Regions::rest(uint64_t region) {
  const uint32_t was = words_[region].fetch_and(~kTouched);
  return (was & kDirty) != 0 && (was & (kTouched | kWrites)) == 0;
}

bool Regions::clear(uint64_t region) {
  uint32_t rested = kDirty | kDurable;
  return words_[region].compare_exchange_strong(rested, 0);
}

uint64_t Regions::dirty() const {
  uint64_t dirty = 0;
  for (uint64_t region = 0; region < count(); ++region) dirty += is_dirty(region) ? 1 : 0;
  return dirty;
}

}  // namespace sluice::mirror
