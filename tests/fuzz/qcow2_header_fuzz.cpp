// Reads any bytes as the beginning of a qcow2 image, with its snapshot table and bitmap directory:
// each is refused with a printable sentence, or has only places that lie in the file, and numbers
// within the limits.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "spec/shown.hpp"
#include "target/qcow2/header.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace {

using Bytes = std::span<const std::byte>;

constexpr uint64_t kSparseBytes = uint64_t{1} << 50;

void require(bool holds, const char* what, const std::string& detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "qcow2_header_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

void require_reason(const sluice::Error& error) {
  require(error.error > 0 && !error.text.empty(), "no reason is given");
  require(sluice::is_utf8(error.text) && error.text.find_first_of("\n\x1b") == std::string::npos,
          "a sentence is not printable", error.text);
  require(error.text.size() < 1000, "a sentence is long", error.text);
}

void require_table(const char* what, uint64_t offset, uint64_t bytes,
                   const sluice::qcow2::Header& header, uint64_t file_bytes) {
  require(offset % header.cluster_bytes() == 0, "a table is not aligned", what);
  require(bytes == 0 || offset >= header.cluster_bytes(), "a table is in the header", what);
  require(bytes == 0 || (offset <= file_bytes && bytes <= file_bytes - offset),
          "a table is outside", what);
}

void check_header(const sluice::qcow2::Header& header, uint64_t file_bytes) {
  require(header.size_bytes % 512 == 0, "the size is not rounded");
  require(header.l1_entries_needed() <= header.l1_entries, "the L1 table is too small");
  require(header.refcount_max() > 0 && header.refcounts_per_block() > 0, "no refcounts");
  require(header.unit_bytes() >= 512, "a unit is smaller than a sector");
  require(header.backing_name.size() <= sluice::qcow2::kBackingNameMax, "a long name");
  require(!header.backing_name.contains('\0') && !header.backing_format.contains('\0') &&
              !header.data_file_name.contains('\0'),
          "a name has a NUL");
  require_table("L1", header.l1_offset, header.l1_entries * uint64_t{8}, header, file_bytes);
  require_table("refcounts", header.refcount_table_offset,
                header.refcount_table_clusters * header.cluster_bytes(), header, file_bytes);
  require_table("snapshots", header.snapshots_offset, header.snapshots * uint64_t{40}, header,
                file_bytes);
  if (header.encryption) {
    require_table("LUKS header", header.encryption->offset, header.encryption->bytes, header,
                  file_bytes);
  }
  if (!header.bitmaps) return;
  require_table("bitmaps", header.bitmaps->directory_offset, header.bitmaps->directory_bytes,
                header, file_bytes);
}

// A sparse file has only `image` in memory, so a table behind it is read from its middle instead.
Bytes table_at(Bytes image, uint64_t offset) {
  return image.subspan(static_cast<size_t>(std::min<uint64_t>(offset, image.size() / 2)));
}

void check_snapshots(Bytes image, const sluice::qcow2::Header& header, uint64_t file_bytes) {
  const Bytes bytes = table_at(image, header.snapshots_offset);
  const auto table = sluice::qcow2::parse_snapshots(bytes, header, file_bytes);
  if (!table) return require_reason(table.error());
  require(table->snapshots.size() == header.snapshots, "another number of snapshots");
  require(table->table_bytes <= bytes.size(), "the table is longer than its bytes");
  for (const sluice::qcow2::Snapshot& snapshot : table->snapshots) {
    require_table("snapshot", snapshot.l1_offset, snapshot.l1_entries * uint64_t{8}, header,
                  file_bytes);
    require(header.l1_entries_needed(snapshot.disk_bytes) <= snapshot.l1_entries,
            "the L1 table of a snapshot is too small");
  }
}

void check_bitmaps(Bytes image, const sluice::qcow2::Header& header, uint64_t file_bytes) {
  if (!header.bitmaps) return;
  Bytes bytes = table_at(image, header.bitmaps->directory_offset);
  bytes = bytes.first(std::min<size_t>(bytes.size(), header.bitmaps->directory_bytes));
  const auto bitmaps = sluice::qcow2::parse_bitmaps(bytes, header, file_bytes);
  if (!bitmaps) return require_reason(bitmaps.error());
  require(bitmaps->size() == header.bitmaps->count, "another number of bitmaps");
  for (const sluice::qcow2::BitmapEntry& bitmap : *bitmaps) {
    require_table("bitmap", bitmap.table_offset, bitmap.table_entries * uint64_t{8}, header,
                  file_bytes);
    require(bitmap.granularity_bits >= 9 && bitmap.granularity_bits <= 31, "the granularity");
    require(!bitmap.name.empty(), "a bitmap has no name");
  }
}

void check_image(Bytes image, uint64_t file_bytes) {
  const auto header = sluice::qcow2::parse_header(image, file_bytes);
  if (!header) return require_reason(header.error());
  check_header(*header, file_bytes);
  check_snapshots(image, *header, file_bytes);
  check_bitmaps(image, *header, file_bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes image(reinterpret_cast<const std::byte*>(data), size);
  const auto needed = sluice::qcow2::header_bytes_needed(image.first(std::min<size_t>(size, 512)));
  if (!needed) {
    require_reason(needed.error());
    return 0;
  }
  require(*needed >= 512 && *needed <= 2 << 20, "an odd number of bytes is needed");
  check_image(image, size);
  if (size >= *needed) {
    check_image(image, kSparseBytes);
  } else {
    std::vector<std::byte> padded(image.begin(), image.end());
    padded.resize(static_cast<size_t>(*needed));
    check_image(padded, kSparseBytes);
  }
  return 0;
}
