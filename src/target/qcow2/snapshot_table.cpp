#include "target/qcow2/snapshot_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <unordered_set>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kSnapshotHeadBytes = 40;
constexpr size_t kBitmapHeadBytes = 24;

constexpr uint32_t kAutomatic = 1 << 1;
constexpr uint32_t kUsableWithUnknownData = 1 << 2;
constexpr uint32_t kBitmapFlags = kBitmapInUse | kAutomatic | kUsableWithUnknownData;
constexpr uint8_t kDirtyTracking = 1;  // the only type

// QEMU's limits.
constexpr uint32_t kSnapshotExtraMax = 1024;

// Takes the parts of one entry after the other from the front. Made for one call of a parser.
class EntryReader {
 public:
  EntryReader(std::span<const std::byte> bytes, std::string_view what)
      : bytes_(bytes), what_(what) {}

  // Begins an entry, and takes its first bytes.
  Result<std::span<const std::byte>> begin(uint64_t number, size_t head_bytes) {
    number_ = number;
    return take(head_bytes);
  }
  Result<std::span<const std::byte>> take(size_t bytes) {
    if (bytes > bytes_.size() - taken_) {
      return refuse(fmt::format("ends at byte {} or later, and the table at {}",
                                taken_ + uint64_t{bytes}, bytes_.size()));
    }
    const auto taken = bytes_.subspan(taken_, bytes);
    taken_ += bytes;
    return taken;
  }
  // The padding of the last entry need not be there.
  void skip_padding() { taken_ = std::min((taken_ + 7) / 8 * 8, bytes_.size()); }
  size_t taken() const { return taken_; }

  std::unexpected<Error> refuse(std::string_view why) const {
    return fail(EINVAL, fmt::format("{} {} {}", what_, number_, why));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view what_;
  uint64_t number_ = 0;
  size_t taken_ = 0;
};

std::string string_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Empty: a table of 8-byte entries may lie there.
std::string fault_of_table(std::string_view name, uint64_t offset, uint64_t entries,
                           const Header& header, uint64_t file_bytes) {
  const uint64_t cluster = header.cluster_bytes();
  const uint64_t bytes = entries * sizeof(uint64_t);
  if (offset % cluster != 0) {
    return fmt::format("has its {} at {}, which is not aligned to a cluster of {} bytes", name,
                       offset, cluster);
  }
  if (bytes == 0) return {};
  if (offset == 0) return fmt::format("has its {} in the cluster of the header", name);
  if (offset > file_bytes || bytes > file_bytes - offset) {
    return fmt::format("has its {} at {}, {} bytes, and the file ends at {}", name, offset, bytes,
                       file_bytes);
  }
  return {};
}

void read_snapshot_extra(std::span<const std::byte> extra, Snapshot& snapshot) {
  if (extra.size() >= 8) snapshot.vm_state_bytes = load_big_endian<uint64_t>(extra, 0);
  if (extra.size() >= 16) snapshot.disk_bytes = load_big_endian<uint64_t>(extra, 8);
  snapshot.disk_bytes -= snapshot.disk_bytes % 512;
  snapshot.extra_data.assign(extra.begin(), extra.end());
}

Result<void> check_snapshot_l1(const EntryReader& reader, const Snapshot& snapshot,
                               const Header& header, uint64_t file_bytes) {
  if (snapshot.l1_entries > kL1BytesMax / sizeof(uint64_t)) {
    return reader.refuse(fmt::format("has {} L1 entries, and may have at most {}",
                                     snapshot.l1_entries, kL1BytesMax / sizeof(uint64_t)));
  }
  const std::string fault =
      fault_of_table("L1 table", snapshot.l1_offset, snapshot.l1_entries, header, file_bytes);
  if (!fault.empty()) return reader.refuse(fault);
  const uint64_t needed = header.l1_entries_needed(snapshot.disk_bytes);
  if (needed <= snapshot.l1_entries) return {};
  return reader.refuse(
      fmt::format("has an L1 table of {} entries, and its disk of {} bytes needs at least {}",
                  snapshot.l1_entries, snapshot.disk_bytes, needed));
}

Result<Snapshot> read_snapshot(EntryReader& reader, uint64_t number, const Header& header,
                               uint64_t file_bytes) {
  const auto head = reader.begin(number, kSnapshotHeadBytes);
  if (!head) return std::unexpected(head.error());
  Snapshot snapshot = {.l1_offset = load_big_endian<uint64_t>(*head, 0),
                       .l1_entries = load_big_endian<uint32_t>(*head, 8),
                       .date_seconds = load_big_endian<uint32_t>(*head, 16),
                       .date_nanoseconds = load_big_endian<uint32_t>(*head, 20),
                       .vm_clock_nanoseconds = load_big_endian<uint64_t>(*head, 24),
                       .vm_state_bytes = load_big_endian<uint32_t>(*head, 32),
                       .disk_bytes = header.size_bytes};
  const auto extra_bytes = load_big_endian<uint32_t>(*head, 36);
  if (extra_bytes > kSnapshotExtraMax) {
    return reader.refuse(fmt::format("has {} bytes of extra data, and may have at most {}",
                                     extra_bytes, kSnapshotExtraMax));
  }
  const auto extra = reader.take(extra_bytes);
  if (!extra) return std::unexpected(extra.error());
  const auto id = reader.take(load_big_endian<uint16_t>(*head, 12));
  if (!id) return std::unexpected(id.error());
  const auto name = reader.take(load_big_endian<uint16_t>(*head, 14));
  if (!name) return std::unexpected(name.error());
  reader.skip_padding();
  read_snapshot_extra(*extra, snapshot);
  snapshot.id = string_of(*id);
  snapshot.name = string_of(*name);
  if (auto fits = check_snapshot_l1(reader, snapshot, header, file_bytes); !fits) {
    return std::unexpected(fits.error());
  }
  return snapshot;
}

Result<void> check_bitmap(const EntryReader& reader, const BitmapEntry& bitmap,
                          const Header& header, uint64_t file_bytes) {
  if (bitmap.granularity_bits < kGranularityBitsMin ||
      bitmap.granularity_bits > kGranularityBitsMax) {
    return reader.refuse(fmt::format("has granularity_bits {}, which must be {} to {}",
                                     bitmap.granularity_bits, kGranularityBitsMin,
                                     kGranularityBitsMax));
  }
  const uint64_t most = kBitmapBytesMax / header.cluster_bytes();
  if (bitmap.table_entries == 0 || bitmap.table_entries > most) {
    return reader.refuse(
        fmt::format("has a table of {} entries, which must be 1 to {}: a bitmap "
                    "has at most {} bytes",
                    bitmap.table_entries, most, kBitmapBytesMax));
  }
  const std::string fault =
      fault_of_table("bitmap table", bitmap.table_offset, bitmap.table_entries, header, file_bytes);
  if (!fault.empty()) return reader.refuse(fault);
  // The size of the disk may have changed meanwhile.
  if (bitmap.in_use) return {};
  const uint64_t bits = bitmap.table_entries * header.cluster_bytes() * 8;
  const uint64_t needed = (header.size_bytes >> bitmap.granularity_bits) +
                          (header.size_bytes % (uint64_t{1} << bitmap.granularity_bits) != 0);
  if (needed <= bits) return {};
  return reader.refuse(fmt::format("has {} bits, and {} are needed for the disk", bits, needed));
}

Result<BitmapEntry> read_bitmap(EntryReader& reader, uint64_t number, const Header& header,
                                uint64_t file_bytes) {
  const auto head = reader.begin(number, kBitmapHeadBytes);
  if (!head) return std::unexpected(head.error());
  const auto flags = load_big_endian<uint32_t>(*head, 12);
  const auto type = load_big_endian<uint8_t>(*head, 16);
  const auto name_bytes = load_big_endian<uint16_t>(*head, 18);
  const auto extra_bytes = load_big_endian<uint32_t>(*head, 20);
  if ((flags & ~kBitmapFlags) != 0) {
    return reader.refuse(
        fmt::format("has flags 0x{:x}, of which only 0x{:x} are defined", flags, kBitmapFlags));
  }
  if (type != kDirtyTracking) {
    return reader.refuse(fmt::format("is of type {}, which must be {}", type, kDirtyTracking));
  }
  if (name_bytes == 0 || name_bytes > kBitmapNameMax) {
    return reader.refuse(
        fmt::format("has a name of {} bytes, which must be 1 to {}", name_bytes, kBitmapNameMax));
  }
  const auto extra = reader.take(extra_bytes);
  if (!extra) return std::unexpected(extra.error());
  const auto name = reader.take(name_bytes);
  if (!name) return std::unexpected(name.error());
  reader.skip_padding();
  BitmapEntry bitmap = {.table_offset = load_big_endian<uint64_t>(*head, 0),
                        .table_entries = load_big_endian<uint32_t>(*head, 8),
                        .in_use = (flags & kBitmapInUse) != 0,
                        .automatic = (flags & kAutomatic) != 0,
                        .usable = extra_bytes == 0 || (flags & kUsableWithUnknownData) != 0,
                        .granularity_bits = load_big_endian<uint8_t>(*head, 17),
                        .name = string_of(*name),
                        .extra_data = {extra->begin(), extra->end()},
                        .extra_is_optional = (flags & kUsableWithUnknownData) != 0};
  if (auto fits = check_bitmap(reader, bitmap, header, file_bytes); !fits) {
    return std::unexpected(fits.error());
  }
  return bitmap;
}

}  // namespace

Result<SnapshotTable> parse_snapshots(std::span<const std::byte> bytes, const Header& header,
                                      uint64_t file_bytes) {
  if (header.snapshots > kSnapshotsMax) {
    return fail(EINVAL, fmt::format("nb_snapshots is {}, and may be at most {}", header.snapshots,
                                    kSnapshotsMax));
  }
  EntryReader reader(bytes.first(std::min<size_t>(bytes.size(), kSnapshotTableBytesMax)),
                     "snapshot");
  SnapshotTable table;
  for (uint64_t number = 1; number <= header.snapshots; ++number) {
    auto snapshot = read_snapshot(reader, number, header, file_bytes);
    if (!snapshot) return std::unexpected(std::move(snapshot.error()));
    table.snapshots.push_back(std::move(*snapshot));
  }
  table.table_bytes = reader.taken();
  return table;
}

Result<std::vector<BitmapEntry>> parse_bitmaps(std::span<const std::byte> bytes,
                                               const Header& header, uint64_t file_bytes) {
  std::vector<BitmapEntry> bitmaps;
  if (!header.bitmaps) return bitmaps;
  EntryReader reader(bytes, "bitmap");
  std::unordered_set<std::string> names;
  for (uint64_t number = 1; number <= header.bitmaps->count; ++number) {
    auto bitmap = read_bitmap(reader, number, header, file_bytes);
    if (!bitmap) return std::unexpected(std::move(bitmap.error()));
    if (!names.insert(bitmap->name).second) return reader.refuse("has the name of another one");
    bitmaps.push_back(std::move(*bitmap));
  }
  if (reader.taken() == bytes.size()) return bitmaps;
  return fail(EINVAL, fmt::format("the bitmap directory has {} bytes, and its {} entries have {}",
                                  bytes.size(), header.bitmaps->count, reader.taken()));
}

uint64_t entry_bytes(const BitmapEntry& bitmap) {
  return (kBitmapHeadBytes + bitmap.extra_data.size() + bitmap.name.size() + 7) / 8 * 8;
}

void append_bitmap(const BitmapEntry& bitmap, std::vector<std::byte>& directory) {
  const size_t begin = directory.size();
  directory.resize(begin + entry_bytes(bitmap));
  const std::span<std::byte> entry = std::span(directory).subspan(begin);
  const uint32_t flags = (bitmap.in_use ? kBitmapInUse : 0) | (bitmap.automatic ? kAutomatic : 0) |
                         (bitmap.extra_is_optional ? kUsableWithUnknownData : 0);
  store_big_endian(entry, 0, bitmap.table_offset);
  store_big_endian(entry, 8, bitmap.table_entries);
  store_big_endian(entry, kBitmapFlagsPlace, flags);
  entry[16] = std::byte{kDirtyTracking};
  entry[17] = static_cast<std::byte>(bitmap.granularity_bits);
  store_big_endian(entry, 18, static_cast<uint16_t>(bitmap.name.size()));
  store_big_endian(entry, 20, static_cast<uint32_t>(bitmap.extra_data.size()));
  std::ranges::copy(bitmap.extra_data, entry.begin() + kBitmapHeadBytes);
  std::ranges::copy(
      std::as_bytes(std::span(bitmap.name)),
      entry.begin() + static_cast<std::ptrdiff_t>(kBitmapHeadBytes + bitmap.extra_data.size()));
}

}  // namespace sluice::qcow2
