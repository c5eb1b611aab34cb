#include "reactor/latency.hpp"

#include <algorithm>
#include <cmath>

namespace sluice {

void LatencyStats::add(const LatencyStats& other) {
  counts.resize(LatencyBuckets::kCount);
  for (size_t i = 0; i < other.counts.size(); ++i) counts[i] += other.counts[i];
  count += other.count;
  sum += other.sum;
  longest = std::max(longest, other.longest);
}

uint64_t LatencyStats::quantile(double share) const {
  if (count == 0) return 0;
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count)));
  uint64_t passed = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    passed += counts[i];
    if (passed >= wanted && passed != 0) return std::min(LatencyBuckets::last_of(i), longest);
  }
  return longest;
}

// The writer may count meanwhile, so `count` is the sum of the buckets as read.
LatencyStats Latency::stats() const {
  LatencyStats stats;
  stats.counts.reserve(counts_.size());
  for (const std::atomic<uint64_t>& each : counts_) {
    stats.counts.push_back(each.load(std::memory_order_relaxed));
    stats.count += stats.counts.back();
  }
  stats.sum = sum_.load(std::memory_order_relaxed);
  stats.longest = longest_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace sluice
