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

constexpr uint64_t kL1EntryReserved = 0x7f000000000001ff;

void check_l1_table(int descriptor, Check& check, uint64_t offset, uint64_t entries, bool is_active,
                    const std::string& what);
void note_l2_table(Check& check, uint64_t entry, uint64_t index, bool is_active,
                   const std::string& what);
void check_snapshots(int descriptor, Check& check);
void check_snapshot_tables(int descriptor, Check& check, const std::vector<Snapshot>& snapshots);

}  // namespace

// An L2 table that several L1 entries refer to is read once.
void check_guest_data(int descriptor, Check& check) {
  const Header& header = check.header;
  check_l1_table(descriptor, check, header.l1_offset, header.l1_entries, true, "the L1 table");
  check_snapshots(descriptor, check);
  for (const auto& [offset, use] : check.l2_tables) {
    check_l2_table(descriptor, check, offset, use);
  }
}

namespace {

void check_l1_table(int descriptor, Check& check, uint64_t offset, uint64_t entries, bool is_active,
                    const std::string& what) {
  if (entries == 0) return;
  if (!count_references(check, offset, entries * 8, kUseMetadata, 1, what)) {
    check.complete = false;
    return;
  }
  const auto bytes = read_image(descriptor, offset, entries * 8);
  if (!bytes) return check.unread(bytes.error());
  for (uint64_t i = 0; i < entries; ++i) {
    const auto entry = load_big_endian<uint64_t>(*bytes, i * 8);
    if (is_active) check.active_l1.push_back(entry);
    if (entry != 0) note_l2_table(check, entry, i, is_active, what);
  }
}

void note_l2_table(Check& check, uint64_t entry, uint64_t index, bool is_active,
                   const std::string& what) {
  if ((entry & kL1EntryReserved) != 0) {
    check.corrupt(1,
                  fmt::format("entry {} of {} has reserved bits set: {:#x}", index, what, entry));
  }
  const uint64_t offset = entry & kOffsetMask;
  const uint64_t cluster_bytes = check.header.cluster_bytes();
  if (!count_references(check, offset, cluster_bytes, kUseL2, 1,
                        fmt::format("the L2 table of entry {} of {}", index, what))) {
    if (is_active && (entry & kCopied) != 0) ++check.result.corruptions;  // of a refcount of zero
    check.complete = false;
    return;
  }
  if (is_active) check.references.note_copied(offset, (entry & kCopied) != 0, 1);
  if (offset % cluster_bytes != 0) {
    check.corrupt(1, fmt::format("the L2 table of entry {} of {} at offset {} is not aligned to a "
                                 "cluster",
                                 index, what, offset));
    check.complete = false;
    return;
  }
  if (offset == 0) return;  // the header, which overlaps
  L2Use& use = check.l2_tables[offset];
  ++(is_active ? use.active : use.snapshots);
}

void check_snapshots(int descriptor, Check& check) {
  const Header& header = check.header;
  if (header.snapshots == 0) return;
  const auto table = read_snapshots(descriptor, header, check.file_bytes);
  if (!table && table.error().error != EINVAL) return check.unread(table.error());
  if (!table) {
    check.complete = false;
    check.corrupt(1, fmt::format("the snapshots cannot be checked: {}", table.error().text));
    return;
  }
  count_references(check, header.snapshots_offset, table->table_bytes, kUseMetadata, 1,
                   "the snapshot table");
  if (header.has(kExternalData)) {
    check.corrupt(1, "the image has snapshots, but its data is in another file");
  }
  check_snapshot_tables(descriptor, check, table->snapshots);
}

// L1 tables do not overlap. Those that are longer than the file together do, and would take more
// time than the file has bytes.
void check_snapshot_tables(int descriptor, Check& check, const std::vector<Snapshot>& snapshots) {
  uint64_t total_bytes = 0;
  for (const Snapshot& each : snapshots) {
    total_bytes += uint64_t{each.l1_entries} * 8;
    if (total_bytes > check.file_bytes + check.header.cluster_bytes()) {
      check.complete = false;
      check.corrupt(1, "the L1 tables of the snapshots are longer than the file: they overlap");
      return;
    }
    check_l1_table(descriptor, check, each.l1_offset, each.l1_entries, false,
                   fmt::format("the L1 table of snapshot {}", shown(each.name)));
  }
}

}  // namespace
}  // namespace sluice::qcow2
