// The snapshot table and the bitmap directory of an image: lists that are read as a whole.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

inline constexpr uint64_t kSnapshotTableBytesMax = 64 << 20;
inline constexpr uint32_t kBitmapsMax = 65535;
inline constexpr uint64_t kBitmapDirectoryBytesMax = 64 << 20;
inline constexpr uint64_t kBitmapBytesMax = 512 << 20;
inline constexpr uint32_t kBitmapNameMax = 1023;
inline constexpr uint32_t kGranularityBitsMin = 9;
inline constexpr uint32_t kGranularityBitsMax = 31;
inline constexpr uint64_t kBitmapFlagsPlace = 12;  // in an entry, 4 bytes
inline constexpr uint32_t kBitmapInUse = 1 << 0;

struct Snapshot {
  uint64_t l1_offset = 0;
  uint32_t l1_entries = 0;
  std::string id = {};
  std::string name = {};
  uint32_t date_seconds = 0;  // since the epoch
  uint32_t date_nanoseconds = 0;
  uint64_t vm_clock_nanoseconds = 0;
  uint64_t vm_state_bytes = 0;
  uint64_t disk_bytes = 0;  // the size of the disk then; the present one if not recorded
  // As in the image, for whoever writes the table again.
  std::vector<std::byte> extra_data = {};
};

// One entry of the bitmap directory.
struct BitmapEntry {
  uint64_t table_offset = 0;
  uint32_t table_entries = 0;
  bool in_use = false;     // was not stored when the image was used last: not to be trusted
  bool automatic = false;  // follows all writes
  bool usable = true;      // false: it has unknown data that changes its meaning
  uint32_t granularity_bits = 0;
  std::string name = {};
  // As in the image, for whoever writes the directory again.
  std::vector<std::byte> extra_data = {};
  bool extra_is_optional = false;  // it may be ignored
};

// Reads a snapshot table from its beginning; `bytes` may extend beyond it. EINVAL with a reason:
// malformed, ends before its last entry, or beyond the limits; offsets are checked against
// `file_bytes`. `table_bytes`: the length of the table.
struct SnapshotTable {
  std::vector<Snapshot> snapshots;
  uint64_t table_bytes = 0;
};
Result<SnapshotTable> parse_snapshots(std::span<const std::byte> bytes, const Header& header,
                                      uint64_t file_bytes);

// The reverse: all snapshots as they are, but for what `extra_data` says of the VM state and the
// disk, which is kept as it is.
std::vector<std::byte> write_snapshots(std::span<const Snapshot> snapshots);

// The extra data of a new snapshot: no VM state, and the size of the disk.
std::vector<std::byte> snapshot_extra_data(uint64_t disk_bytes);

// The one of this name, or else of this id; null: there is none.
const Snapshot* find_snapshot(std::span<const Snapshot> snapshots, std::string_view name_or_id);

// An id that none has: one more than the largest number, as QEMU chooses it.
std::string new_snapshot_id(std::span<const Snapshot> snapshots);

// `bytes` is the whole directory.
Result<std::vector<BitmapEntry>> parse_bitmaps(std::span<const std::byte> bytes,
                                               const Header& header, uint64_t file_bytes);
// The reverse, for one entry: appends it, with its padding. Its name is not longer than allowed.
void append_bitmap(const BitmapEntry& bitmap, std::vector<std::byte>& directory);
// The length of the entry in the directory.
uint64_t entry_bytes(const BitmapEntry& bitmap);

}  // namespace sluice::qcow2
