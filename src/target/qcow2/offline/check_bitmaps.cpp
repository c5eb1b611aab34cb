#include <fmt/format.h>

#include <cerrno>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/check_steps.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kBitmapEntryReserved = 0xff000000000001fe;
constexpr uint64_t kBitmapAllOnes = 1;  // of an entry without a cluster

void check_bitmap_table(int descriptor, Check& check, const BitmapEntry& bitmap);

}  // namespace

// Without the autoclear bit the bitmaps are void, and nobody frees their clusters: leaks.
void check_bitmaps(int descriptor, Check& check) {
  const Header& header = check.header;
  if (!has_valid_bitmaps(header)) return;
  if (!count_references(check, header.bitmaps->directory_offset, header.bitmaps->directory_bytes,
                        kUseMetadata, 1, "the bitmap directory")) {
    check.complete = false;
    return;
  }
  const auto bitmaps = read_bitmaps(descriptor, header, check.file_bytes);
  if (!bitmaps && bitmaps.error().error != EINVAL) return check.unread(bitmaps.error());
  if (!bitmaps) {
    check.complete = false;
    check.corrupt(1, fmt::format("the bitmaps cannot be checked: {}", bitmaps.error().text));
    return;
  }
  uint64_t total_bytes = 0;
  for (const BitmapEntry& each : *bitmaps) {
    total_bytes += uint64_t{each.table_entries} * 8;
    if (total_bytes > check.file_bytes + header.cluster_bytes()) {
      check.complete = false;
      check.corrupt(1, "the tables of the bitmaps are longer than the file: they overlap");
      return;
    }
    check_bitmap_table(descriptor, check, each);
  }
}

namespace {

void check_bitmap_table(int descriptor, Check& check, const BitmapEntry& bitmap) {
  const uint64_t length = uint64_t{bitmap.table_entries} * 8;
  const std::string table = fmt::format("the table of bitmap {}", shown(bitmap.name));
  if (!count_references(check, bitmap.table_offset, length, kUseMetadata, 1, table)) {
    check.complete = false;
    return;
  }
  const auto bytes = read_image(descriptor, bitmap.table_offset, length);
  if (!bytes) return check.unread(bytes.error());
  const uint64_t cluster_bytes = check.header.cluster_bytes();
  for (uint64_t i = 0; i < bitmap.table_entries; ++i) {
    const auto entry = load_big_endian<uint64_t>(*bytes, i * 8);
    const uint64_t offset = entry & kOffsetMask;
    if ((entry & kBitmapEntryReserved) != 0 || offset % cluster_bytes != 0 ||
        (offset != 0 && (entry & kBitmapAllOnes) != 0)) {
      check.corrupt(1, fmt::format("entry {} of {} is invalid: {:#x}", i, table, entry));
    } else if (offset != 0) {
      count_references(check, offset, cluster_bytes, kUseMetadata, 1,
                       fmt::format("a cluster of bitmap {}", shown(bitmap.name)));
    }
  }
}

}  // namespace
}  // namespace sluice::qcow2
