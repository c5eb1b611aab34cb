// Entries of L1 and L2 tables.
#pragma once

#include <cstdint>

#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

inline constexpr uint64_t kCopied = uint64_t{1} << 63;      // the refcount is exactly one
inline constexpr uint64_t kCompressed = uint64_t{1} << 62;  // of L2 entries
inline constexpr uint64_t kZeroFlag = 1;                    // of standard L2 entries, version 3
inline constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;

// Where a compressed cluster lies: the stream begins at `offset` and ends before the end of the
// last of its 512-byte sectors.
struct CompressedPlace {
  uint64_t offset = 0;
  uint64_t length = 0;  // at most two clusters
};

// One L2 entry. `bitmap` is zero without extended L2 entries.
struct L2Entry {
  uint64_t entry = 0;
  uint64_t bitmap = 0;  // low half: subclusters allocated here; high half: that read as zeroes

  bool operator==(const L2Entry&) const = default;

  bool is_compressed() const { return (entry & kCompressed) != 0; }
  // The refcount of the host cluster is one: it may be written in place.
  bool is_copied() const { return (entry & kCopied) != 0; }
  // Of the host cluster; 0: there is none. Not for compressed clusters.
  uint64_t host_offset() const { return entry & kOffsetMask; }
  CompressedPlace compressed_place(uint32_t cluster_bits) const {
    const uint32_t offset_bits = 62 - (cluster_bits - 8);
    const uint64_t offset = entry & ((uint64_t{1} << offset_bits) - 1);
    const uint64_t more = (entry & ~(kCopied | kCompressed)) >> offset_bits;
    return {.offset = offset, .length = (more + 1) * 512 - offset % 512};
  }
  // Of a stream of `length` bytes, less than a cluster, at `offset` in the image.
  static L2Entry of_stream(uint64_t offset, uint64_t length, uint32_t cluster_bits) {
    const uint32_t offset_bits = 62 - (cluster_bits - 8);
    const uint64_t more = (offset + length - 1) / 512 - offset / 512;
    return {.entry = kCompressed | more << offset_bits | offset};
  }
};

// How one unit of the disk (a cluster, or a subcluster with extended L2 entries) is mapped.
enum class Kind : uint8_t {
  unallocated,  // what the backing file has, or zeroes
  zero,         // zeroes, whatever the backing file has
  data,         // at host_offset
  compressed,
};

}  // namespace sluice::qcow2
