// Runs: what the entries of an L2 table say of a range of the disk.
//
// Pure functions over the bytes of a part of a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.hpp"
#include "target/qcow2/l2_entry.hpp"

namespace sluice::qcow2 {

// Consecutive bytes of the disk that are mapped alike.
struct Run {
  Kind kind = Kind::unallocated;
  uint64_t length = 0;    // bytes
  bool has_host = false;  // there is a host cluster for it: data, and others if by_place
  uint64_t host = 0;      // then: the place of the first byte
  bool in_place = false;  // data: may be overwritten where it is
  L2Entry entry{};        // of the first cluster
};

// What is the same for all entries of an image.
struct MappingRules {
  uint32_t cluster_bits = 16;
  uint32_t entry_bytes = 8;  // 16: extended L2 entries
  uint32_t version = 3;
  bool external = false;     // data is in another file, at the offset that it has on the disk
  uint64_t host_end = 0;     // no host cluster begins here or later
  bool is_snapshot = false;  // nothing may be overwritten in place
  bool by_place = false;     // what has a host cluster without using it is a run of its own

  explicit MappingRules() = default;
  explicit MappingRules(const Header& header)
      : cluster_bits(header.cluster_bits),
        entry_bytes(header.l2_entry_bytes()),
        version(header.version),
        external(header.has(kExternalData)) {}

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  bool extended() const { return entry_bytes == 16; }
  uint64_t unit_bytes() const {
    return extended() ? cluster_bytes() / kSubclusters : cluster_bytes();
  }
};

L2Entry load_entry(std::span<const std::byte> table, size_t place, const MappingRules& rules);
void store_entry(std::span<std::byte> table, size_t place, const L2Entry& entry,
                 const MappingRules& rules);

// EUCLEAN: the image is corrupt: not aligned, beyond the end of the file, on the header, with
// reserved bits or contradictory subclusters. `disk_offset`: of the cluster.
Status check_entry(const L2Entry& entry, uint64_t disk_offset, const MappingRules& rules);

// How a unit of the cluster is mapped; `unit` is 0 without extended L2 entries.
Kind kind_of(const L2Entry& entry, uint64_t unit, const MappingRules& rules);

// The longest run from `offset` on the disk, up to `length` bytes. `table` begins with the entry of
// the cluster of `offset`; the run ends with it at the latest. EUCLEAN as above, if the first
// cluster is damaged.
Status first_run(std::span<const std::byte> table, uint64_t offset, uint64_t length,
                 const MappingRules& rules, Run& run);

}  // namespace sluice::qcow2
