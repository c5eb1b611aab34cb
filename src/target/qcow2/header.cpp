#include "target/qcow2/header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <string_view>

#include "core/big_endian.hpp"
#include "target/qcow2/header_extensions.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kVersion2Bytes = 72;
constexpr size_t kVersion3Bytes = 104;
constexpr size_t kCompressionPlace = 104;
constexpr uint32_t kRefcountOrderMax = 6;
constexpr uint32_t kExtendedClusterBitsMin = 14;  // subclusters of a sector
constexpr uint64_t kDiskUnitBytes = 512;
constexpr uint64_t kSnapshotEntryBytesMin = 40;
constexpr uint32_t kEncryptedByLuks = 2;  // crypt_method

constexpr uint64_t kKnownIncompatible =
    kDirty | kCorrupt | kExternalData | kCompressionType | kExtendedL2;

constexpr size_t kNamesShown = 3;

// What the header says about where a table lies.
struct TablePlace {
  std::string_view name;
  uint64_t offset;
  uint64_t bytes;
};

// Reads one header. Made for one call of parse_header().
class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> start, uint64_t file_bytes, uint64_t cluster_bytes)
      : first_cluster_(start.first(std::min<size_t>(start.size(), cluster_bytes))),
        file_bytes_(file_bytes) {}

  Result<Header> parse();

 private:
  void read_fields();
  void read_version_3();
  Result<void> check_first_cluster() const;
  Result<void> check_header_length() const;
  Result<void> check_backing_place() const;
  Result<void> check_features() const;
  Result<void> check_encryption() const;
  Result<void> check_encryption_place();
  Result<void> check_compression();
  Result<void> check_cluster_size() const;
  Result<void> check_limits() const;
  Result<void> check_size();
  Result<void> read_backing_name();
  Result<void> read_extensions();
  Result<void> check_tables() const;
  Result<void> check_table(const TablePlace& table) const;

  ExtensionArea extensions() const {
    const auto end = backing_offset_ != 0 ? backing_offset_ : first_cluster_.size();
    return {first_cluster_.first(static_cast<size_t>(end)), header_.header_bytes};
  }

  template <std::unsigned_integral Number>
  Number field(size_t place) const {
    return load_big_endian<Number>(first_cluster_, place);
  }

  const std::span<const std::byte> first_cluster_;
  const uint64_t file_bytes_;
  Header header_;
  uint64_t backing_offset_ = 0;
  uint32_t backing_bytes_ = 0;
  uint32_t encryption_ = 0;
};

Result<Header> HeaderParser::parse() {
  // Each relies on those before it.
  constexpr std::array kRest = {
      &HeaderParser::check_header_length, &HeaderParser::check_backing_place,
      &HeaderParser::check_features,      &HeaderParser::check_encryption,
      &HeaderParser::check_cluster_size,  &HeaderParser::check_limits};
  constexpr std::array kReaders = {&HeaderParser::check_compression, &HeaderParser::check_size,
                                   &HeaderParser::read_backing_name, &HeaderParser::read_extensions,
                                   &HeaderParser::check_encryption_place};
  if (auto done = check_first_cluster(); !done) return std::unexpected(done.error());
  read_fields();
  for (const auto check : kRest) {
    if (auto done = (this->*check)(); !done) return std::unexpected(done.error());
  }
  for (const auto read : kReaders) {
    if (auto done = (this->*read)(); !done) return std::unexpected(done.error());
  }
  if (auto done = check_tables(); !done) return std::unexpected(done.error());
  return std::move(header_);
}

Result<void> HeaderParser::check_first_cluster() const {
  const uint64_t cluster_bytes = uint64_t{1} << field<uint32_t>(20);
  if (first_cluster_.size() == cluster_bytes && file_bytes_ >= cluster_bytes) return {};
  return fail(EINVAL,
              fmt::format("the file has {} bytes, which is less than a cluster of {} bytes",
                          std::min<uint64_t>(file_bytes_, first_cluster_.size()), cluster_bytes));
}

void HeaderParser::read_fields() {
  header_.version = field<uint32_t>(4);
  backing_offset_ = field<uint64_t>(8);
  backing_bytes_ = field<uint32_t>(16);
  header_.cluster_bits = field<uint32_t>(20);
  header_.size_bytes = field<uint64_t>(24);
  encryption_ = field<uint32_t>(32);
  header_.l1_entries = field<uint32_t>(36);
  header_.l1_offset = field<uint64_t>(40);
  header_.refcount_table_offset = field<uint64_t>(48);
  header_.refcount_table_clusters = field<uint32_t>(56);
  header_.snapshots = field<uint32_t>(60);
  header_.snapshots_offset = field<uint64_t>(64);
  header_.header_bytes = kVersion2Bytes;
  if (header_.version >= 3) read_version_3();
}

void HeaderParser::read_version_3() {
  header_.incompatible = field<uint64_t>(kFeaturesPlace);
  header_.compatible = field<uint64_t>(80);
  header_.autoclear = field<uint64_t>(88);
  header_.refcount_order = field<uint32_t>(96);
  header_.header_bytes = field<uint32_t>(100);
}

Result<void> HeaderParser::check_header_length() const {
  const uint32_t bytes = header_.header_bytes;
  if (header_.version == 2) return {};
  if (bytes >= kVersion3Bytes && bytes % 8 == 0 && bytes <= first_cluster_.size()) return {};
  return fail(EINVAL,
              fmt::format("header_length is {}, and must be a multiple of 8 from {} to {}, the end "
                          "of the first cluster",
                          bytes, kVersion3Bytes, first_cluster_.size()));
}

// A name elsewhere could be changed by the writes of a guest.
Result<void> HeaderParser::check_backing_place() const {
  if (backing_offset_ == 0) return {};
  if (backing_offset_ < header_.header_bytes || backing_offset_ > first_cluster_.size()) {
    return fail(EINVAL,
                fmt::format("backing_file_offset is {}, and must be between the end of the header, "
                            "{}, and that of the first cluster, {}",
                            backing_offset_, header_.header_bytes, first_cluster_.size()));
  }
  const uint64_t most =
      std::min<uint64_t>(kBackingNameMax, first_cluster_.size() - backing_offset_);
  if (backing_bytes_ <= most) return {};
  return fail(EINVAL, fmt::format("backing_file_size is {}, and may be at most {}, as the name "
                                  "must end within the first cluster and have at most {} bytes",
                                  backing_bytes_, most, kBackingNameMax));
}

Result<void> HeaderParser::check_features() const {
  const uint64_t unknown = header_.incompatible & ~kKnownIncompatible;
  if (unknown == 0) return {};
  std::string names;
  size_t shown_names = 0;
  for (uint32_t bit = 0; bit < 64 && shown_names < kNamesShown; ++bit) {
    if ((unknown >> bit & 1) == 0) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", feature_name(extensions(), bit));
    ++shown_names;
  }
  const auto all = static_cast<size_t>(std::popcount(unknown));
  if (all > shown_names) names += fmt::format(" and {} more", all - shown_names);
  return fail(ENOTSUP,
              fmt::format("the image has features that this program does not have: {}", names));
}

Result<void> HeaderParser::check_encryption() const {
  if (encryption_ == 0 || encryption_ == kEncryptedByLuks) return {};
  return fail(ENOTSUP, fmt::format("crypt_method is {}: the image is encrypted, which is supported "
                                   "by LUKS (2) only: qemu-img convert reads images of AES (1)",
                                   encryption_));
}

Result<void> HeaderParser::check_encryption_place() {
  if ((encryption_ == kEncryptedByLuks) == header_.encryption.has_value()) return {};
  return fail(EINVAL,
              fmt::format("crypt_method is {}, and the header extension with the place of the LUKS "
                          "header, which belongs to {}, is {}there",
                          encryption_, kEncryptedByLuks, header_.encryption ? "" : "not "));
}

Result<void> HeaderParser::check_cluster_size() const {
  if (!header_.has(kExtendedL2) || header_.cluster_bits >= kExtendedClusterBitsMin) return {};
  return fail(EINVAL, fmt::format("cluster_bits is {}, and must be at least {} with extended L2 "
                                  "entries",
                                  header_.cluster_bits, kExtendedClusterBitsMin));
}

Result<void> HeaderParser::check_limits() const {
  if (header_.refcount_order > kRefcountOrderMax) {
    return fail(EINVAL, fmt::format("refcount_order is {}, and may be at most {}",
                                    header_.refcount_order, kRefcountOrderMax));
  }
  const uint64_t clusters_max = kRefcountTableBytesMax / header_.cluster_bytes();
  if (header_.refcount_table_clusters == 0 || header_.refcount_table_clusters > clusters_max) {
    return fail(EINVAL,
                fmt::format("refcount_table_clusters is {}, and must be 1 to {}: at most {} bytes",
                            header_.refcount_table_clusters, clusters_max, kRefcountTableBytesMax));
  }
  if (header_.l1_entries > kL1BytesMax / sizeof(uint64_t)) {
    return fail(EINVAL, fmt::format("l1_size is {}, and may be at most {}", header_.l1_entries,
                                    kL1BytesMax / sizeof(uint64_t)));
  }
  if (header_.snapshots > kSnapshotsMax) {
    return fail(EINVAL, fmt::format("nb_snapshots is {}, and may be at most {}", header_.snapshots,
                                    kSnapshotsMax));
  }
  return {};
}

Result<void> HeaderParser::check_compression() {
  const bool is_present = header_.header_bytes > kCompressionPlace;
  const auto type = is_present ? field<uint8_t>(kCompressionPlace) : uint8_t{0};
  if (type > static_cast<uint8_t>(Compression::zstd)) {
    return fail(ENOTSUP,
                fmt::format("compression_type is {}, and must be 0 (zlib) or 1 (zstd)", type));
  }
  if ((type != 0) != header_.has(kCompressionType)) {
    return fail(EINVAL, fmt::format("compression_type is {}, and bit 3 of incompatible_features, "
                                    "which is set for other types than 0, is {}set",
                                    type, type != 0 ? "not " : ""));
  }
  header_.compression = static_cast<Compression>(type);
  return {};
}

Result<void> HeaderParser::check_size() {
  const uint64_t needed = header_.l1_entries_needed();
  if (needed > header_.l1_entries) {
    return fail(EINVAL,
                fmt::format("size is {}, for which an L1 table has {} entries or more, and l1_size "
                            "is {}",
                            header_.size_bytes, needed, header_.l1_entries));
  }
  header_.size_bytes -= header_.size_bytes % kDiskUnitBytes;  // as QEMU does
  return {};
}

Result<void> HeaderParser::read_backing_name() {
  if (backing_offset_ == 0) return {};
  const auto bytes = first_cluster_.subspan(static_cast<size_t>(backing_offset_), backing_bytes_);
  return read_name(bytes, "backing file name", kBackingNameMax, header_.backing_name);
}

Result<void> HeaderParser::read_extensions() {
  return qcow2::read_extensions(extensions(), header_);
}

Result<void> HeaderParser::check_tables() const {
  // The entries of a snapshot table have a length of their own: the least is checked here.
  const BitmapsExtension bitmaps = header_.bitmaps.value_or(BitmapsExtension{});
  const auto encryption = header_.encryption.value_or(EncryptionExtension{});
  const std::array tables = {
      TablePlace{"refcount table", header_.refcount_table_offset,
                 header_.refcount_table_clusters * header_.cluster_bytes()},
      TablePlace{"L1 table", header_.l1_offset, header_.l1_entries * sizeof(uint64_t)},
      TablePlace{"snapshot table", header_.snapshots_offset,
                 header_.snapshots * kSnapshotEntryBytesMin},
      TablePlace{"bitmap directory", bitmaps.directory_offset, bitmaps.directory_bytes},
      TablePlace{"LUKS header", encryption.offset, encryption.bytes}};
  for (const TablePlace& table : tables) {
    if (auto done = check_table(table); !done) return done;
    for (const TablePlace& other : std::span(tables.data(), &table)) {
      const bool before = table.offset + table.bytes <= other.offset;
      const bool behind = other.offset + other.bytes <= table.offset;
      if (before || behind || table.bytes == 0 || other.bytes == 0) continue;
      return fail(EINVAL,
                  fmt::format("the {} at {}, {} bytes, overlaps the {} at {}, {} bytes", table.name,
                              table.offset, table.bytes, other.name, other.offset, other.bytes));
    }
  }
  return {};
}

Result<void> HeaderParser::check_table(const TablePlace& table) const {
  const auto refuse = [&](std::string_view why, uint64_t number) {
    return fail(EINVAL, fmt::format("the {} at {}, {} bytes, {} {}", table.name, table.offset,
                                    table.bytes, why, number));
  };
  const uint64_t cluster = header_.cluster_bytes();
  if (table.offset % cluster != 0) return refuse("is not aligned to a cluster of", cluster);
  if (table.bytes == 0) return {};
  if (table.offset == 0) return refuse("lies in the cluster of the header, which ends at", cluster);
  if (table.offset > file_bytes_ || table.bytes > file_bytes_ - table.offset) {
    return refuse("reaches beyond the end of the file at", file_bytes_);
  }
  return {};
}

}  // namespace

Result<uint64_t> header_bytes_needed(std::span<const std::byte> start) {
  if (start.size() < kVersion2Bytes) {
    return fail(EINVAL, fmt::format("the file has {} bytes, and the header of a qcow2 image has at "
                                    "least {}",
                                    start.size(), kVersion2Bytes));
  }
  if (const auto magic = load_big_endian<uint32_t>(start, 0); magic != kMagic) {
    return fail(EINVAL, fmt::format("the magic is 0x{:08x}, and that of a qcow2 image is 0x{:08x}",
                                    magic, kMagic));
  }
  if (const auto version = load_big_endian<uint32_t>(start, 4); version != 2 && version != 3) {
    return fail(EINVAL, fmt::format("version is {}, and must be 2 or 3", version));
  }
  const auto bits = load_big_endian<uint32_t>(start, 20);
  if (bits < kClusterBitsMin || bits > kClusterBitsMax) {
    return fail(EINVAL, fmt::format("cluster_bits is {}, and must be {} to {}", bits,
                                    kClusterBitsMin, kClusterBitsMax));
  }
  return uint64_t{1} << bits;
}

Result<Header> parse_header(std::span<const std::byte> start, uint64_t file_bytes) {
  const Result<uint64_t> needed = header_bytes_needed(start);
  if (!needed) return std::unexpected(needed.error());
  return HeaderParser(start, file_bytes, *needed).parse();
}

}  // namespace sluice::qcow2
