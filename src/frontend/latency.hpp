// Latency: how long requests took, as a histogram that one thread writes and any may read.
//
// Log-linear: 32 buckets for each power of two, so that a bucket is at most 1/32 (3.1 %) wide.
// Times are in ticks (core/ticks.hpp). Counting one is an addition: no lock, no memory, no
// division.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

namespace sluice {

// One writer: no locked instruction is needed.
inline void add_relaxed(std::atomic<uint64_t>& counter, uint64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

// Which bucket a time is in, and where that ends.
struct LatencyBuckets {
  static constexpr uint32_t kLinearBits = 5;
  static constexpr uint32_t kLongestBits = 44;  // an hour and more; what is longer counts as that
  static constexpr size_t kCount = (kLongestBits - kLinearBits + 1) << kLinearBits;

  static constexpr size_t index_of(uint64_t ticks) {
    constexpr uint64_t kLongest = (uint64_t{1} << kLongestBits) - 1;
    if (ticks > kLongest) ticks = kLongest;
    if (ticks < (1U << kLinearBits)) return ticks;
    const auto shift = static_cast<uint32_t>(std::bit_width(ticks)) - kLinearBits - 1;
    return (size_t{shift} << kLinearBits) + (ticks >> shift);
  }
  // The longest time that is counted there.
  static constexpr uint64_t last_of(size_t index) {
    if (index < (1U << kLinearBits)) return index;
    const size_t shift = (index >> kLinearBits) - 1;
    return ((index - (shift << kLinearBits) + 1) << shift) - 1;
  }
};

// What a histogram said at some moment. A value.
struct LatencyFigures {
  std::vector<uint64_t> counts;  // by bucket
  uint64_t count = 0;
  uint64_t sum = 0;      // ticks
  uint64_t longest = 0;  // ticks

  void add(const LatencyFigures& other);
  // The time that the given share of the requests did not exceed, in ticks; 0 if there are none.
  uint64_t quantile(double share) const;
};

class Latency {
 public:
  void count(uint64_t ticks) {
    // A request may begin on one processor and end on another whose counter is a little behind.
    if (ticks > UINT64_MAX / 2) ticks = 0;
    add_relaxed(counts_[LatencyBuckets::index_of(ticks)], 1);
    add_relaxed(sum_, ticks);
    if (ticks > longest_.load(std::memory_order_relaxed)) {
      longest_.store(ticks, std::memory_order_relaxed);
    }
  }

  LatencyFigures figures() const;

 private:
  std::array<std::atomic<uint64_t>, LatencyBuckets::kCount> counts_ = {};
  std::atomic<uint64_t> sum_ = 0;
  std::atomic<uint64_t> longest_ = 0;
};

}  // namespace sluice
