// Snapshot tables: how they change.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/big_endian.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kHeadBytes = 40;
constexpr size_t kExtraBytes = 24;  // size of the VM state, size of the disk, instruction count

void append_text(std::vector<std::byte>& bytes, std::string_view text) {
  const auto added = std::as_bytes(std::span(text));
  bytes.insert(bytes.end(), added.begin(), added.end());
}

void append_snapshot(std::vector<std::byte>& bytes, const Snapshot& snapshot) {
  const size_t place = bytes.size();
  bytes.resize(place + kHeadBytes);
  const auto head = std::span(bytes).subspan(place);
  const uint64_t state = snapshot.vm_state_bytes;
  store_big_endian(head, 0, snapshot.l1_offset);
  store_big_endian(head, 8, snapshot.l1_entries);
  store_big_endian(head, 12, static_cast<uint16_t>(snapshot.id.size()));
  store_big_endian(head, 14, static_cast<uint16_t>(snapshot.name.size()));
  store_big_endian(head, 16, snapshot.date_seconds);
  store_big_endian(head, 20, snapshot.date_nanoseconds);
  store_big_endian(head, 24, snapshot.vm_clock_nanoseconds);
  store_big_endian(head, 32, state > UINT32_MAX ? 0U : static_cast<uint32_t>(state));
  store_big_endian(head, 36, static_cast<uint32_t>(snapshot.extra_data.size()));
  bytes.insert(bytes.end(), snapshot.extra_data.begin(), snapshot.extra_data.end());
  append_text(bytes, snapshot.id);
  append_text(bytes, snapshot.name);
  bytes.resize((bytes.size() + 7) / 8 * 8);
}

}  // namespace

std::vector<std::byte> write_snapshots(std::span<const Snapshot> snapshots) {
  std::vector<std::byte> bytes;
  for (const Snapshot& each : snapshots) append_snapshot(bytes, each);
  return bytes;
}

std::vector<std::byte> snapshot_extra_data(uint64_t disk_bytes) {
  std::vector<std::byte> extra(kExtraBytes);
  store_big_endian(std::span(extra), 8, disk_bytes);
  return extra;
}

const Snapshot* find_snapshot(std::span<const Snapshot> snapshots, std::string_view name_or_id) {
  auto found = std::ranges::find(snapshots, name_or_id, &Snapshot::name);
  if (found == snapshots.end()) found = std::ranges::find(snapshots, name_or_id, &Snapshot::id);
  return found == snapshots.end() ? nullptr : &*found;
}

std::string new_snapshot_id(std::span<const Snapshot> snapshots) {
  uint64_t most = 0;
  for (const Snapshot& each : snapshots) {
    most = std::max<uint64_t>(most, std::strtoull(each.id.c_str(), nullptr, 10));
  }
  for (;;) {
    std::string id = fmt::format("{}", ++most);
    if (std::ranges::find(snapshots, id, &Snapshot::id) == snapshots.end()) return id;
  }
}

}  // namespace sluice::qcow2
