// Change: a step of a write that maps some clusters anew.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "target/qcow2/clusters.hpp"
#include "target/qcow2/mapping.hpp"

namespace sluice::qcow2 {

struct Change {
  static constexpr size_t kMost = 32;  // clusters

  uint64_t offset = 0;  // of the first cluster, on the disk
  size_t count = 0;
  std::array<L2Entry, kMost> old{};
  std::array<L2Entry, kMost> now{};
  std::array<bool, kMost> fresh{};  // gets a new host cluster

  std::array<Allocation, kMost> taken{};
  size_t taken_count = 0;
  std::array<BlockVersion, kMost> counted{};
  size_t counted_count = 0;

  std::span<L2Entry> old_entries() { return std::span(old).first(count); }
  std::span<const L2Entry> new_entries() const { return std::span(now).first(count); }
  std::span<const BlockVersion> refcounts() const {
    return std::span(counted).first(counted_count);
  }
  size_t fresh_from(size_t first) const {
    size_t found = 0;
    for (size_t i = first; i < count; ++i) found += fresh[i] ? 1 : 0;
    return found;
  }
  void take(const Allocation& allocation) {
    taken[taken_count++] = allocation;
    const bool known =
        counted_count != 0 && counted[counted_count - 1].number == allocation.counted.number;
    if (!known) counted[counted_count++] = allocation.counted;
  }
};

// The part of the first or last cluster of a write that has to be filled with what was there.
struct Edge {
  uint64_t begin = 0;  // on the disk
  uint64_t end = 0;
  uint64_t host = 0;  // of `begin`

  uint64_t length() const { return end - begin; }
};

// --- Pure functions. `begin` and `end`: the bytes of the disk that are written.

// Sets the new entry of cluster `index`, but for the place of a fresh one.
void plan_cluster(Change& change, size_t index, uint64_t begin, uint64_t end,
                  const MappingRules& rules);
// What comes before the written bytes in the first cluster, and after them in the last. Empty:
// none. Call when all places are known.
Edge front_edge(const Change& change, uint64_t begin, const MappingRules& rules);
Edge back_edge(const Change& change, uint64_t end, const MappingRules& rules);

}  // namespace sluice::qcow2
