// ClusterSet: the host clusters that hold metadata in use, none of which guest data may overwrite.
//
// Grows only, up to its capacity, beyond which nothing is added: a last defence against images that
// are damaged. Any thread, but for become().
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace sluice::qcow2 {

class ClusterSet {
 public:
  explicit ClusterSet(uint64_t expected, uint32_t cluster_bits)
      : cluster_bits_(cluster_bits), slots_(std::bit_ceil(2 * std::max<uint64_t>(expected, 32))) {}

  // Takes the clusters and the capacity of another set. Nobody else uses either.
  void become(ClusterSet&& other) {
    count_.store(other.count_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    slots_ = std::move(other.slots_);
  }

  // By any offset in the cluster.
  void add(uint64_t offset) {
    if (count_.fetch_add(1, std::memory_order_relaxed) > slots_.size() / 4 * 3) return;
    const uint64_t wanted = key_of(offset);
    for (uint64_t slot = first_slot(wanted);; slot = next(slot)) {
      uint64_t found = 0;
      if (slots_[slot].compare_exchange_strong(found, wanted) || found == wanted) return;
    }
  }
  void add(uint64_t offset, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes; done += uint64_t{1} << cluster_bits_) add(offset + done);
  }

  bool contains(uint64_t offset) const {
    const uint64_t wanted = key_of(offset);
    for (uint64_t slot = first_slot(wanted);; slot = next(slot)) {
      const uint64_t found = slots_[slot].load(std::memory_order_relaxed);
      if (found == wanted) return true;
      if (found == 0) return false;
    }
  }
  // Whether any byte of the range is in one of the clusters.
  bool touches(uint64_t offset, uint64_t bytes) const {
    const uint64_t last = (offset + bytes - 1) >> cluster_bits_;
    for (uint64_t cluster = offset >> cluster_bits_; cluster <= last; ++cluster) {
      if (contains(cluster << cluster_bits_)) return true;
    }
    return false;
  }

 private:
  // Never 0, which is an empty slot.
  uint64_t key_of(uint64_t offset) const { return (offset >> cluster_bits_) + 1; }
  uint64_t first_slot(uint64_t key) const {
    constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;  // 2^64 by the golden ratio
    return (key * kSpread >> 20) & (slots_.size() - 1);
  }
  uint64_t next(uint64_t slot) const { return (slot + 1) & (slots_.size() - 1); }

  const uint32_t cluster_bits_;
  std::atomic<uint64_t> count_ = 0;
  std::vector<std::atomic<uint64_t>> slots_;
};

}  // namespace sluice::qcow2
