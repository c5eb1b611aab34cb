#include <fmt/format.h>

#include "core/big_endian.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/check_steps.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kL2EntryReserved = 0x3f000000000001fe;  // of standard entries
constexpr uint64_t kLowHalf = 0xffffffff;

// One L2 table while its entries are checked.
struct CheckedTable {
  Check& check;
  uint64_t offset;
  L2Use use;
  uint64_t next = 0;  // the host cluster after the last one of the table

  uint64_t times() const { return use.active + use.snapshots; }
  void corrupt(uint64_t index, const L2Entry& entry, std::string_view what) const {
    check.corrupt(times(), fmt::format("entry {} of the L2 table at offset {}, {:#x}, {}", index,
                                       offset, entry.entry, what));
  }
};

void check_l2_entry(CheckedTable& table, uint64_t index, const L2Entry& entry);
void check_compressed(CheckedTable& table, uint64_t index, const L2Entry& entry);
void check_standard(CheckedTable& table, uint64_t index, const L2Entry& entry);
bool refers_to_cluster(const Check& check, const L2Entry& entry);
void check_copied(CheckedTable& table, uint64_t index, const L2Entry& entry, bool is_counted);

}  // namespace

void check_l2_table(int descriptor, Check& check, uint64_t offset, const L2Use& use) {
  const auto bytes = read_image(descriptor, offset, check.header.cluster_bytes());
  if (!bytes) return check.unread(bytes.error());
  const uint32_t entry_bytes = check.header.l2_entry_bytes();
  CheckedTable table{.check = check, .offset = offset, .use = use};
  for (uint64_t i = 0; i < check.header.l2_entries(); ++i) {
    L2Entry entry{.entry = load_big_endian<uint64_t>(*bytes, i * entry_bytes)};
    if (entry_bytes == 16) entry.bitmap = load_big_endian<uint64_t>(*bytes, i * 16 + 8);
    if (entry.entry != 0 || entry.bitmap != 0) check_l2_entry(table, i, entry);
  }
}

namespace {

void check_l2_entry(CheckedTable& table, uint64_t index, const L2Entry& entry) {
  if (entry.is_compressed()) return check_compressed(table, index, entry);
  if ((entry.entry & kL2EntryReserved) != 0) table.corrupt(index, entry, "has reserved bits set");
  if (refers_to_cluster(table.check, entry)) {
    check_standard(table, index, entry);
  } else if ((entry.bitmap & kLowHalf) != 0) {
    table.corrupt(index, entry, "has allocated subclusters, but no cluster");
  }
}

void check_compressed(CheckedTable& table, uint64_t index, const L2Entry& entry) {
  Check& check = table.check;
  if (entry.is_copied()) table.corrupt(index, entry, "is compressed and has the flag COPIED");
  if (check.header.has(kExternalData)) {
    return table.corrupt(index, entry, "is compressed, but the data is in another file");
  }
  if (entry.bitmap != 0) return table.corrupt(index, entry, "is compressed and has subclusters");
  const auto place = entry.compressed_place(check.header.cluster_bits);
  count_references(check, place.offset, place.length, kUseData, table.times(),
                   "the compressed cluster");
  // They are counted as fragmented, as QEMU does.
  check.result.allocated_clusters += table.use.active;
  check.result.compressed_clusters += table.use.active;
  check.result.fragmented_clusters += table.use.active;
}

void check_standard(CheckedTable& table, uint64_t index, const L2Entry& entry) {
  Check& check = table.check;
  const uint64_t cluster_bytes = check.header.cluster_bytes();
  const uint64_t host = entry.host_offset();
  if ((entry.bitmap >> 32 & entry.bitmap) != 0) {
    table.corrupt(index, entry, "has subclusters that are both allocated and zero");
  }
  if (host % cluster_bytes != 0) {
    table.corrupt(index, entry, "has a cluster that is not aligned");
  }
  check.result.allocated_clusters += table.use.active;
  if (table.next != 0 && host != table.next) check.result.fragmented_clusters += table.use.active;
  table.next = host + cluster_bytes;
  const bool is_counted =
      !check.header.has(kExternalData) &&
      count_references(check, host, cluster_bytes, kUseData, table.times(), "the data cluster");
  if (table.use.active > 0) check_copied(table, index, entry, is_counted);
}

// In another file, a cluster may begin at offset 0.
bool refers_to_cluster(const Check& check, const L2Entry& entry) {
  if (entry.host_offset() != 0) return true;
  const bool is_zero = (entry.entry & kZeroFlag) != 0 && !check.header.has(kExtendedL2);
  return check.header.has(kExternalData) && entry.is_copied() && !is_zero;
}

// The flag is compared with the refcount later. Clusters in another file have none: they belong to
// one entry. Those beyond the end of the file have a refcount of zero.
void check_copied(CheckedTable& table, uint64_t index, const L2Entry& entry, bool is_counted) {
  Check& check = table.check;
  if (is_counted) {
    check.references.note_copied(entry.host_offset(), entry.is_copied(), table.use.active);
  } else if (entry.is_copied() != check.header.has(kExternalData)) {
    check.corrupt(table.use.active,
                  fmt::format("entry {} of the L2 table at offset {} has a wrong flag COPIED",
                              index, table.offset));
  }
}

}  // namespace
}  // namespace sluice::qcow2
