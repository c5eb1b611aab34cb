// StaleMap: the regions in which one leg of a mirror may hold something else than it should.
//
// Safe on all threads, without locks. Allocates only at creation.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "core/reserved_array.hpp"

namespace sluice::mirror {

class StaleMap {
 public:
  // `capacity`: regions, up to which it may grow.
  StaleMap(uint64_t regions, uint64_t capacity)
      : words_(word_of(capacity) + 1), count_(word_of(regions) + 1) {}

  // Regions that it does not have any more are not stale.
  void set_regions(uint64_t regions) {
    for (uint64_t region = next(regions); region != UINT64_MAX; region = next(region)) {
      remove(region);
    }
    count_ = word_of(regions) + 1;
  }

  void add(uint64_t region) {
    ++additions_;
    if ((words_[word_of(region)].fetch_or(bit_of(region)) & bit_of(region)) == 0) ++stale_;
  }
  void remove(uint64_t region) {
    if ((words_[word_of(region)].fetch_and(~bit_of(region)) & bit_of(region)) != 0) --stale_;
  }
  // Calls of add(). A copy that was begun after so many of them does not count for those since.
  uint64_t additions() const { return additions_; }
  void remove_unless_added(uint64_t region, uint64_t additions) {
    if (additions_ != additions) return;
    remove(region);
    if (additions_ != additions) add(region);  // in this moment
  }
  bool has(uint64_t region) const { return (load(word_of(region)) & bit_of(region)) != 0; }
  // Any of [first, last].
  bool has_any(uint64_t first, uint64_t last) const { return count() != 0 && next(first) <= last; }
  // The first from `region` on; UINT64_MAX: none.
  uint64_t next(uint64_t region) const {
    uint64_t at = word_of(region);
    uint64_t word = at < count_ ? load(at) & (~uint64_t{0} << (region % kBits)) : 0;
    while (word == 0) {
      if (++at >= count_) return UINT64_MAX;
      word = load(at);
    }
    return at * kBits + static_cast<uint64_t>(std::countr_zero(word));
  }
  void clear() {
    for (uint64_t at = 0; at < count_; ++at) {
      stale_ -= static_cast<uint64_t>(std::popcount(words_[at].exchange(0)));
    }
  }
  uint64_t count() const { return stale_.load(std::memory_order_acquire); }

 private:
  static constexpr uint64_t kBits = 64;
  static constexpr uint64_t word_of(uint64_t region) { return region / kBits; }
  static constexpr uint64_t bit_of(uint64_t region) { return uint64_t{1} << (region % kBits); }
  uint64_t load(uint64_t at) const { return words_[at].load(std::memory_order_acquire); }

  const ReservedArray<std::atomic<uint64_t>> words_;
  std::atomic<uint64_t> count_;  // of words
  std::atomic<uint64_t> stale_ = 0;
  std::atomic<uint64_t> additions_ = 0;
};

}  // namespace sluice::mirror
