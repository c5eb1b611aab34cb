// Regions: which parts of a mirror may differ between its legs, in memory: the write-intent bitmap.
//
// Each region counts its writes in flight, and is dirty from its first write on until it is known
// that all legs hold the same. It is durable once the bitmap on the legs says that it is dirty:
// only then may data go to any leg (T3.8).
//
// Safe on all threads, without locks. Allocates only at creation.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/reserved_array.hpp"

namespace sluice::mirror {

class Regions {
 public:
  // `region_bytes`: a power of two. `capacity`: regions, up to which it may grow.
  Regions(uint64_t size_bytes, uint64_t region_bytes, uint64_t capacity);

  // With no write in flight. Regions that are new are clean.
  void set_size(uint64_t size_bytes);

  uint64_t count() const { return count_.load(std::memory_order_acquire); }
  uint64_t region_bytes() const { return region_bytes_; }
  uint64_t region_of(uint64_t offset) const { return offset >> shift_; }
  uint64_t begin_of(uint64_t region) const { return region << shift_; }
  // The regions of a range that is not empty: [first, last].
  uint64_t last_of(uint64_t offset, uint64_t length) const {
    return (offset + length - 1) >> shift_;
  }

  // A write to these regions begins: they are dirty. True: they are durable as well.
  bool begin_write(uint64_t first, uint64_t last);
  void end_write(uint64_t first, uint64_t last);

  bool is_dirty(uint64_t region) const { return (load(region) & kDirty) != 0; }
  bool is_durable(uint64_t region) const { return (load(region) & kDurable) != 0; }
  void mark(uint64_t region) { words_[region].fetch_or(kDirty | kTouched); }
  void note_durable(uint64_t region) { words_[region].fetch_or(kDurable); }

  // True if no write has come since the call before, and none is in flight: then a flush of all
  // legs makes the region the same on all, and clear() returns true unless a write has come since.
  bool rest(uint64_t region);
  bool clear(uint64_t region);

  // Counts them; a moment later there may be others.
  uint64_t dirty() const;

 private:
  static constexpr uint32_t kDirty = 1u << 31;
  static constexpr uint32_t kDurable = 1u << 30;
  static constexpr uint32_t kTouched = 1u << 29;  // since the last rest()
  static constexpr uint32_t kWrites = kTouched - 1;

  uint32_t load(uint64_t region) const { return words_[region].load(std::memory_order_acquire); }

  const uint64_t region_bytes_;
  const int shift_;
  std::atomic<uint64_t> count_ = 0;
  const ReservedArray<std::atomic<uint32_t>> words_;
};

}  // namespace sluice::mirror
