// Latency: a histogram of request durations; one thread writes it, any may read it.
//
// Log-linear: 32 buckets for each power of two, so that a bucket is at most 1/32 (3.1 %) wide.
// Times are in cycles (core/cycle_clock.hpp). Counting is an addition: no lock, no allocation, no
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

// The bucket of a time, and the limits of buckets.
struct LatencyBuckets {
  static constexpr uint32_t kLinearBits = 5;
  static constexpr uint32_t kLongestBits = 44;  // more than an hour; longer times count as this
  static constexpr size_t kCount = (kLongestBits - kLinearBits + 1) << kLinearBits;

  static constexpr size_t index_of(uint64_t cycles) {
    constexpr uint64_t kLongest = (uint64_t{1} << kLongestBits) - 1;
    if (cycles > kLongest) cycles = kLongest;
    if (cycles < (1U << kLinearBits)) return cycles;
    const auto shift = static_cast<uint32_t>(std::bit_width(cycles)) - kLinearBits - 1;
    return (size_t{shift} << kLinearBits) + (cycles >> shift);
  }
  // The longest time that falls into the bucket.
  static constexpr uint64_t last_of(size_t index) {
    if (index < (1U << kLinearBits)) return index;
    const size_t shift = (index >> kLinearBits) - 1;
    return ((index - (shift << kLinearBits) + 1) << shift) - 1;
  }
};

// A snapshot of a histogram. A value.
struct LatencyStats {
  std::vector<uint64_t> counts;  // by bucket
  uint64_t count = 0;
  uint64_t sum = 0;      // cycles
  uint64_t longest = 0;  // cycles

  void add(const LatencyStats& other);
  // The time, in cycles, that a share of the requests did not exceed; 0 if there are none.
  uint64_t quantile(double share) const;
};

class Latency {
 public:
  void count(uint64_t cycles) {
    // A request may end on another processor whose counter is slightly behind.
    if (cycles > UINT64_MAX / 2) cycles = 0;
    add_relaxed(counts_[LatencyBuckets::index_of(cycles)], 1);
    add_relaxed(sum_, cycles);
    if (cycles > longest_.load(std::memory_order_relaxed)) {
      longest_.store(cycles, std::memory_order_relaxed);
    }
  }

  LatencyStats stats() const;

 private:
  std::array<std::atomic<uint64_t>, LatencyBuckets::kCount> counts_ = {};
  std::atomic<uint64_t> sum_ = 0;
  std::atomic<uint64_t> longest_ = 0;
};

}  // namespace sluice
