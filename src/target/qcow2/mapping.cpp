#include "target/qcow2/mapping.hpp"

#include <algorithm>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kReservedStandard = 0x3f000000000001fe;
constexpr uint64_t kReservedExtended = 0x3f000000000001ff;

// Whether the entry of zeroes, or of unallocated subclusters, has a host cluster.
bool keeps_host(const L2Entry& entry, const MappingRules& rules) {
  if (entry.is_compressed()) return false;
  return entry.host_offset() != 0 || (rules.extended() && rules.external && entry.is_copied());
}

// The run within the one cluster of `entry`, or within as many of its subclusters as are alike.
Run run_in_cluster(const L2Entry& entry, uint64_t offset, const MappingRules& rules) {
  const uint64_t unit_bytes = rules.unit_bytes();
  const uint64_t in_cluster = offset % rules.cluster_bytes();
  const uint64_t units = rules.cluster_bytes() / unit_bytes;
  uint64_t unit = in_cluster / unit_bytes;
  Run run{.kind = kind_of(entry, unit, rules), .entry = entry};
  while (unit != units && kind_of(entry, unit, rules) == run.kind) ++unit;
  run.length = unit * unit_bytes - in_cluster;
  run.has_host = run.kind == Kind::data || (rules.by_place && keeps_host(entry, rules));
  if (run.has_host) run.host = entry.host_offset() + in_cluster;
  if (run.kind == Kind::data) {
    run.in_place = (entry.is_copied() || rules.external) && !rules.is_snapshot;
  }
  return run;
}

bool continues(const Run& run, const Run& next) {
  if (next.kind != run.kind || run.kind == Kind::compressed) return false;
  if (!run.has_host || !next.has_host) return run.has_host == next.has_host;
  return next.host == run.host + run.length && next.in_place == run.in_place;
}

}  // namespace

L2Entry load_entry(std::span<const std::byte> table, size_t place, const MappingRules& rules) {
  L2Entry entry{.entry = load_big_endian<uint64_t>(table, place)};
  if (rules.extended()) entry.bitmap = load_big_endian<uint64_t>(table, place + 8);
  return entry;
}

void store_entry(std::span<std::byte> table, size_t place, const L2Entry& entry,
                 const MappingRules& rules) {
  store_big_endian(table, place, entry.entry);
  if (rules.extended()) store_big_endian(table, place + 8, entry.bitmap);
}

Status check_entry(const L2Entry& entry, uint64_t disk_offset, const MappingRules& rules) {
  constexpr Status kDamaged = Status::from_errno(EUCLEAN);
  if (entry.is_compressed()) {
    const CompressedPlace place = entry.compressed_place(rules.cluster_bits);
    const bool allowed = !rules.external && !entry.is_copied() && entry.bitmap == 0;
    return allowed && place.offset >= rules.cluster_bytes() && place.offset < rules.host_end
               ? kOk
               : kDamaged;
  }
  const uint64_t reserved = rules.extended() ? kReservedExtended : kReservedStandard;
  if ((entry.entry & reserved) != 0) return kDamaged;
  if (rules.version == 2 && (entry.entry & kZeroFlag) != 0) return kDamaged;
  if ((entry.bitmap & (entry.bitmap >> 32) & UINT32_MAX) != 0) return kDamaged;
  const uint64_t host = entry.host_offset();
  if (host % rules.cluster_bytes() != 0) return kDamaged;
  if (rules.external) return host == 0 || host == disk_offset ? kOk : kDamaged;
  if (host == 0) {
    const bool claims_data = entry.is_copied() || (entry.bitmap & UINT32_MAX) != 0;
    return claims_data ? kDamaged : kOk;
  }
  return host < rules.host_end ? kOk : kDamaged;
}

Kind kind_of(const L2Entry& entry, uint64_t unit, const MappingRules& rules) {
  if (entry.is_compressed()) return Kind::compressed;
  if (rules.extended()) {
    if ((entry.bitmap >> (32 + unit) & 1) != 0) return Kind::zero;
    return (entry.bitmap >> unit & 1) != 0 ? Kind::data : Kind::unallocated;
  }
  if ((entry.entry & kZeroFlag) != 0) return Kind::zero;
  // In an external file even the first cluster of the disk is allocated at offset 0.
  const bool allocated = entry.host_offset() != 0 || (rules.external && entry.is_copied());
  return allocated ? Kind::data : Kind::unallocated;
}

Status first_run(std::span<const std::byte> table, uint64_t offset, uint64_t length,
                 const MappingRules& rules, Run& run) {
  const uint64_t cluster_bytes = rules.cluster_bytes();
  const auto entry_at = [&](size_t place) { return load_entry(table, place, rules); };
  const L2Entry first = entry_at(0);
  if (const Status checked = check_entry(first, offset / cluster_bytes * cluster_bytes, rules);
      !checked.ok()) {
    return checked;
  }
  run = run_in_cluster(first, offset, rules);
  for (size_t place = rules.entry_bytes; place < table.size() && run.length < length;
       place += rules.entry_bytes) {
    const uint64_t here = offset + run.length;
    if (here % cluster_bytes != 0) break;
    const L2Entry entry = entry_at(place);
    if (!check_entry(entry, here, rules).ok()) break;
    const Run next = run_in_cluster(entry, here, rules);
    if (!continues(run, next)) break;
    run.length += next.length;
  }
  run.length = std::min(run.length, length);
  return kOk;
}

}  // namespace sluice::qcow2
