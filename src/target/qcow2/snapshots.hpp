// Snapshots: takes, deletes and applies the internal snapshots of an image.
//
// Each change is a TableSwitch or two: whenever the power is cut, the disk and all snapshots are
// those before or after it. It reads all L2 tables, and keeps the refcounts that it changes in
// memory: 32 KiB for each GiB of data, with clusters of 64 KiB.
//
// Of one call, on the control reactor; why() has the reason of a failure, a sentence.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "target/qcow2/image.hpp"
#include "target/qcow2/table_switch.hpp"

namespace sluice::qcow2 {

class Snapshots {
 public:
  static constexpr size_t kNameBytesMax = 255;  // QEMU cuts off what is longer

  // A change that would not end by `deadline` is given up, and nothing has changed.
  Snapshots(Image& image, TableSwitch::Clock::time_point deadline)
      : image_(image), deadline_(deadline) {}

  Task read(Request& request);
  const std::vector<Snapshot>& list() const { return list_.snapshots; }

  // --- Changes of an image that is open for writing, and has its data in itself. No request uses
  // the disk meanwhile. EEXIST, ENOENT: such a name is there, or is not; and the errors of a
  // TableSwitch.
  Task create(Request& request, const std::string& name);
  Task remove(Request& request, const std::string& name_or_id);
  // The disk becomes what the snapshot is, with its size.
  Task apply(Request& request, const std::string& name_or_id);
  // After each of these, when requests may use the disk again: frees what is not used any more.
  Task settle(Request& request);

  // The snapshot of the last change.
  const Snapshot& changed() const { return changed_; }
  const std::string& why() const { return why_; }

 private:
  Status refuse(int error, std::string why);
  Status explain(Status status, std::string_view what);
  Task find(Request& request, const std::string& name_or_id);
  Task read_l1(Request& request);
  Task switch_to_fork(Request& request, uint64_t l1_entries, uint64_t size_bytes, bool new_list);
  Task switch_without(Request& request, uint64_t l1_offset, bool new_list, bool& is_gone);
  Task drop_former_tree(Request& request, uint64_t l1_offset);
  uint64_t active_tables() const;

  Image& image_;
  const TableSwitch::Clock::time_point deadline_;
  SnapshotTable list_;
  Snapshot changed_;
  std::vector<uint64_t> l1_;  // of what is copied, or dropped
  std::optional<TableSwitch> switch_;
  std::string why_;
};

}  // namespace sluice::qcow2
