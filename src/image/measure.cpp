#include "image/measure.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "image/map.hpp"

namespace sluice::image {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kEntryBytes = 8;            // of an L1 table, a refcount table, a bitmap table
constexpr uint64_t kDirectoryEntryBytes = 24;  // of the directory of bitmaps, without the name

uint64_t quotient_up(uint64_t number, uint64_t by) { return number / by + (number % by != 0); }
uint64_t multiple_up(uint64_t number, uint64_t of) { return quotient_up(number, of) * of; }

// The refcount table and its blocks, which count themselves as well, in clusters.
uint64_t refcount_clusters(uint64_t clusters, const qcow2::Header& header) {
  uint64_t table = 0;
  uint64_t blocks = 0;
  for (uint64_t before = 0, all = clusters; all != before;) {
    before = all;
    blocks = quotient_up(all, header.refcounts_per_block());
    table = quotient_up(blocks * kEntryBytes, header.cluster_bytes());
    all = clusters + blocks + table;
  }
  return blocks + table;
}

}  // namespace

Measure measure_raw(uint64_t size_bytes) {
  const uint64_t bytes = multiple_up(size_bytes, kSectorBytes);
  return {.required_bytes = bytes, .fully_allocated_bytes = bytes};
}

Result<Measure> measure_qcow2(const qcow2::CreateOptions& options, uint64_t data_bytes) {
  qcow2::CreateOptions whole = options;
  whole.size_bytes = multiple_up(options.size_bytes, kSectorBytes);
  if (auto checked = check_create_options(whole); !checked) {
    return std::unexpected(checked.error());
  }
  const qcow2::Header header = header_for(whole);
  const uint64_t cluster = header.cluster_bytes();
  const uint64_t data = quotient_up(whole.size_bytes, cluster);
  const uint64_t l2 = quotient_up(data, header.l2_entries());
  const uint64_t l1 = quotient_up(l2 * kEntryBytes, cluster);
  const uint64_t tables = 1 + l1 + l2;  // with the header
  const uint64_t metadata = (tables + refcount_clusters(tables + data, header)) * cluster;
  const bool needs_all = options.preallocation == qcow2::Preallocation::falloc ||
                         options.preallocation == qcow2::Preallocation::full;
  return Measure{.required_bytes = metadata + (needs_all ? data * cluster : data_bytes),
                 .fully_allocated_bytes = metadata + data * cluster};
}

Result<uint64_t> count_data(OpenDisk& disk, uint64_t cluster_bytes) {
  uint64_t counted = 0;
  uint64_t counted_to = 0;
  const auto count = [&](uint64_t offset, const Extent& extent) {
    if (extent.hole || extent.zero) return;
    const uint64_t begin = std::max(offset / cluster_bytes * cluster_bytes, counted_to);
    const uint64_t end = multiple_up(offset + extent.length, cluster_bytes);
    if (end <= begin) return;
    counted += end - begin;
    counted_to = end;
  };
  auto mapped = map_disk(disk, 0, disk.size_bytes(), Detail::content, count);
  if (!mapped) return std::unexpected(mapped.error());
  return counted;
}

uint64_t measure_bitmaps(std::span<const qcow2::BitmapEntry> bitmaps, uint64_t size_bytes,
                         uint64_t cluster_bytes) {
  uint64_t bytes = 0;
  uint64_t directory = 0;
  for (const qcow2::BitmapEntry& each : bitmaps) {
    if (each.in_use) continue;
    const uint64_t bits = quotient_up(size_bytes, uint64_t{1} << each.granularity_bits);
    const uint64_t clusters = quotient_up(quotient_up(bits, 8), cluster_bytes);
    bytes += clusters * cluster_bytes + multiple_up(clusters * kEntryBytes, cluster_bytes);
    directory += multiple_up(kDirectoryEntryBytes + each.name.size(), 8);
  }
  return bytes + multiple_up(directory, cluster_bytes);
}

}  // namespace sluice::image
