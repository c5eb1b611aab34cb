// The header of a qcow2 image (docs/formats/qcow2.md), and what follows from it.
//
// Source: "The QCOW2 Image Format", docs/interop/qcow2.rst of QEMU. All offsets and sizes are in
// bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr uint32_t kClusterBitsMin = 9;
inline constexpr uint32_t kClusterBitsMax = 21;
inline constexpr uint32_t kSubclusters = 32;       // of a cluster, with extended L2 entries
inline constexpr uint64_t kL1BytesMax = 32 << 20;  // QEMU's limits
inline constexpr uint64_t kRefcountTableBytesMax = 8 << 20;
inline constexpr uint32_t kSnapshotsMax = 65536;
inline constexpr uint32_t kBackingNameMax = 1023;
inline constexpr size_t kFeaturesPlace = 72;  // of the incompatible features in the header

// Incompatible features.
inline constexpr uint64_t kDirty = 1 << 0;         // refcounts may be too small or too large
inline constexpr uint64_t kCorrupt = 1 << 1;       // only to be read
inline constexpr uint64_t kExternalData = 1 << 2;  // guest data is in another file
inline constexpr uint64_t kCompressionType = 1 << 3;
inline constexpr uint64_t kExtendedL2 = 1 << 4;
// Compatible features.
inline constexpr uint64_t kLazyRefcounts = 1 << 0;
// Autoclear features.
inline constexpr uint64_t kBitmapsValid = 1 << 0;
inline constexpr uint64_t kRawExternalData = 1 << 1;

enum class Compression : uint8_t { zlib = 0, zstd = 1 };

struct BitmapsExtension {
  uint32_t count = 0;
  uint64_t directory_bytes = 0;
  uint64_t directory_offset = 0;
};

// Where the LUKS header of the guest data is.
struct EncryptionExtension {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct Header {
  uint32_t version = 3;  // 2 or 3
  uint32_t cluster_bits = 16;
  uint64_t size_bytes = 0;  // of the disk; parse_header() rounds it down to 512, as QEMU does
  uint32_t l1_entries = 0;
  uint64_t l1_offset = 0;
  uint64_t refcount_table_offset = 0;
  uint32_t refcount_table_clusters = 0;
  uint32_t snapshots = 0;
  uint64_t snapshots_offset = 0;
  uint64_t incompatible = 0;
  uint64_t compatible = 0;
  uint64_t autoclear = 0;
  uint32_t refcount_order = 4;  // a refcount has 1 << refcount_order bits
  uint32_t header_bytes = 104;
  Compression compression = Compression::zlib;

  std::string backing_name = {};                 // empty: none
  std::string backing_format = {};               // empty: not recorded
  std::string data_file_name = {};               // empty: not recorded
  std::optional<BitmapsExtension> bitmaps = {};  // only if kBitmapsValid
  std::optional<EncryptionExtension> encryption = {};

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  bool has(uint64_t incompatible_feature) const {
    return (incompatible & incompatible_feature) != 0;
  }
  uint32_t l2_entry_bytes() const { return has(kExtendedL2) ? 16 : 8; }
  uint32_t l2_bits() const { return cluster_bits - (has(kExtendedL2) ? 4 : 3); }
  uint64_t l2_entries() const { return uint64_t{1} << l2_bits(); }
  // What one L2 entry, or one L2 table, maps.
  uint64_t table_span_bytes() const { return cluster_bytes() << l2_bits(); }
  // The smallest part of the disk that has a mapping of its own.
  uint64_t unit_bytes() const {
    return has(kExtendedL2) ? cluster_bytes() / kSubclusters : cluster_bytes();
  }
  uint64_t refcounts_per_block() const { return cluster_bytes() * 8 >> refcount_order; }
  // The largest refcount.
  uint64_t refcount_max() const {
    return refcount_order == 6 ? UINT64_MAX : (uint64_t{1} << (1U << refcount_order)) - 1;
  }
  uint64_t l1_entries_needed() const { return l1_entries_needed(size_bytes); }
  uint64_t l1_entries_needed(uint64_t disk_bytes) const {
    return disk_bytes / table_span_bytes() + (disk_bytes % table_span_bytes() != 0 ? 1 : 0);
  }
};

// How many bytes of the file parse_header() needs: the first cluster, as far as the file has it.
// EINVAL: `start`, which is the first 512 bytes or all of the file, begins no qcow2 image.
Result<uint64_t> header_bytes_needed(std::span<const std::byte> start);

// Reads and checks the header with its extensions. `start` has at least header_bytes_needed(), or
// all of a shorter file; `file_bytes` is the size of the file. EINVAL with a reason that names the
// field, its value and the limit: malformed, out of the file, overlapping, or beyond QEMU's limits;
// ENOTSUP: unknown incompatible features, by their names in the image, or encryption but by LUKS.
Result<Header> parse_header(std::span<const std::byte> start, uint64_t file_bytes);

}  // namespace sluice::qcow2
