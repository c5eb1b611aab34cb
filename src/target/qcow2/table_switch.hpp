// TableSwitch: new tables of an image, which take effect with one write of its header: an L1 table
// with some L2 tables, refcounts, and a snapshot table.
//
// They are written to clusters to which nothing leads, and are durable before the header changes.
// So the disk has all of the former state or all of the new one, whenever the power is cut, and
// leaks clusters at worst. What was replaced becomes free when the header is durable.
//
// Of one coroutine, while no request uses the disk. Errors: EUCLEAN, a table is damaged; EOVERFLOW,
// a refcount would be too large; ETIMEDOUT, it took too long; EFBIG, ENOSPC, EIO ...
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "target/qcow2/image.hpp"
#include "target/qcow2/refcount_change.hpp"

namespace sluice::qcow2 {

class TableSwitch {
 public:
  using Clock = std::chrono::steady_clock;

  // For the rest of a call, when the header is about to change: a flush and a few writes.
  static constexpr std::chrono::seconds kTimeToEnd{5};

  struct Needs {
    uint64_t l2_tables = 0;
    uint64_t l1_entries = 0;
    uint64_t list_bytes = 0;  // of the snapshot table
  };

  // `list`: the present snapshots.
  TableSwitch(Image& image, const SnapshotTable& list, Clock::time_point deadline);

  // Allocates all that may be needed, and makes the present state durable.
  Task reserve(Request& request, Needs needs);

  // --- Call these while refcounts().mutex() is held. Each is followed by others, or cancel().
  RefcountChange& refcounts() { return refcounts_; }
  // Makes the new L1 table a copy of `source`, which stays in use: all that it leads to is counted
  // once more, and is no longer written in place. An L2 table of which a part was, is copied.
  Task fork(Request& request, const std::vector<uint64_t>& source, uint64_t l1_entries);
  // Drops the references of an L1 table that is no longer in use, and the table itself.
  Task drop_tree(Request& request, uint64_t l1_offset, const std::vector<uint64_t>& l1);
  // Makes the new L1 table a copy of the present one, in which what has a refcount of one is
  // written in place.
  Task mark_copied(Request& request);
  Task write_list(Request& request, const SnapshotTable& list);
  void set_size(uint64_t size_bytes) { next_.size_bytes = size_bytes; }
  // All but the list; nothing leads to it yet.
  Task write_tables(Request& request);
  // ETIMEDOUT: it is too late to begin.
  Status check_time() const;
  // The header leads to the new list only, or to everything. After a failure it does not.
  Task commit_list(Request& request, const SnapshotTable& list);
  Task commit(Request& request, const SnapshotTable& list);
  // Of the clusters that drop_tree() has freed. Best effort, until the time is up.
  Task discard_freed(Request& request);

  // --- Call one of these at the end, without the mutex.
  void cancel();
  // Frees what was replaced.
  Task settle(Request& request);

 private:
  struct Hosts {
    uint64_t begin = 0;  // the first cluster
    uint64_t end = 0;    // empty: there is none
  };

  Task reserve_table(Request& request, uint64_t l2_tables);
  Hosts hosts_of(const L2Entry& entry) const;
  Task read_l2(Request& request, uint64_t place);
  Task write_l2(Request& request, uint64_t& place);
  Task count_entries(Request& request, bool more, bool& any_copied);
  Status drop_data(uint64_t host);
  Task drop_table(Request& request, uint64_t place);
  Task set_copied_flags(Request& request, bool& changed);
  Task load(Request& request, uint64_t cluster);
  Task write_bytes(Request& request, uint64_t offset, std::span<std::byte> bytes);
  Task store(Request& request, const Header& wanted);
  void adopt_list(const SnapshotTable& list);
  void adopt(const SnapshotTable& list);
  void give_back_places();

  Image& image_;
  const Clock::time_point deadline_;
  const uint64_t cluster_bytes_;
  RefcountChange refcounts_;
  Header next_;
  Buffer l2_;                     // the table that is worked on
  std::vector<uint64_t> active_;  // places of the active L2 tables, sorted
  std::vector<uint64_t> new_l1_;
  Allocation l1_place_;
  Allocation list_place_;
  Allocation table_place_;          // of the refcounts
  std::vector<Allocation> places_;  // of L2 tables and refcount blocks, one cluster each
  size_t used_places_ = 0;
  bool uncertain_ = false;             // the disk may lead to the new tables
  std::vector<uint64_t> replaced_;     // clusters, if the header leads to everything new
  std::vector<uint64_t> former_list_;  // clusters of the list that was replaced
  std::vector<Allocation> freed_;      // by refcount
};

}  // namespace sluice::qcow2
