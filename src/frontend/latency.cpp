#include "frontend/latency.hpp"

#include <algorithm>
#include <cmath>

namespace sluice {

void LatencyFigures::add(const LatencyFigures& other) {
  counts.resize(LatencyBuckets::kCount);
  for (size_t i = 0; i < other.counts.size(); ++i) counts[i] += other.counts[i];
  count += other.count;
  sum += other.sum;
  longest = std::max(longest, other.longest);
}

uint64_t LatencyFigures::quantile(double share) const {
  if (count == 0) return 0;
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count)));
  uint64_t passed = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    passed += counts[i];
    if (passed >= wanted && passed != 0) return std::min(LatencyBuckets::last_of(i), longest);
  }
  return longest;
}

// The writer goes on meanwhile: what is counted is what is in the buckets.
LatencyFigures Latency::figures() const {
  LatencyFigures figures;
  figures.counts.reserve(counts_.size());
  for (const std::atomic<uint64_t>& each : counts_) {
    figures.counts.push_back(each.load(std::memory_order_relaxed));
    figures.count += figures.counts.back();
  }
  figures.sum = sum_.load(std::memory_order_relaxed);
  figures.longest = longest_.load(std::memory_order_relaxed);
  return figures;
}

}  // namespace sluice
