#include "target/qcow2/snapshots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kReservedOfL1 = 0x7f000000000001ff;

uint64_t count_tables(const std::vector<uint64_t>& l1) {
  return static_cast<uint64_t>(
      std::ranges::count_if(l1, [](uint64_t entry) { return (entry & kOffsetMask) != 0; }));
}

}  // namespace

Status Snapshots::refuse(int error, std::string why) {
  why_ = std::move(why);
  return Status::from_errno(error);
}

// Why a change has failed.
Status Snapshots::explain(Status status, std::string_view what) {
  const std::string image = shown(image_.options_.name);
  if (!why_.empty()) return status;
  switch (status.error()) {
    case EUCLEAN:
      why_ = fmt::format("{}: a table of {} is damaged: repair it with sluice check --repair all",
                         what, image);
      break;
    case EOVERFLOW:
      why_ = fmt::format(
          "{}: the refcounts of {} have {} bits, too few for one more reference:"
          " convert it with sluice amend -o refcount_bits=16",
          what, image, 1U << image_.header_.refcount_order);
      break;
    case EFBIG:
      why_ = fmt::format(
          "{}: a table of {} would be longer than the clusters that a refcount block"
          " counts: convert it to larger clusters",
          what, image);
      break;
    case ETIMEDOUT:
      why_ = fmt::format(
          "{}: it takes too long while the disk is in use, and nothing has changed:"
          " use sluice snapshot when it is not",
          what);
      break;
    default:
      why_ = fmt::format("{}: {}", what, std::generic_category().message(status.error()));
  }
  return status;
}

Task Snapshots::read(Request& request) {
  LifeCall call;
  Task loading = image_.load_snapshots(request, call, list_);
  const Status loaded = co_await loading;
  if (!loaded.ok()) why_ = std::move(call.why);
  co_return loaded;
}

uint64_t Snapshots::active_tables() const {
  return static_cast<uint64_t>(std::ranges::count_if(
      image_.l1_, [](const auto& entry) { return (entry.load() & kOffsetMask) != 0; }));
}

// --- Taking one

Task Snapshots::create(Request& request, const std::string& name) {
  const Header& header = image_.header_;
  if (name.empty() || name.size() > kNameBytesMax) {
    co_return refuse(EINVAL, fmt::format("the name of a snapshot has 1 to {} bytes, found {}",
                                         kNameBytesMax, name.size()));
  }
  Task reading = read(request);
  if (const Status status = co_await reading; !status.ok()) co_return status;
  const auto same = std::ranges::find(list_.snapshots, name, &Snapshot::name);
  if (same != list_.snapshots.end()) {
    co_return refuse(EEXIST, fmt::format("there is a snapshot {} already: choose another name, or"
                                         " delete that one first",
                                         shown(name)));
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  changed_ = {
      .l1_offset = header.l1_offset,
      .l1_entries = header.l1_entries,
      .id = new_snapshot_id(list_.snapshots),
      .name = name,
      .date_seconds = static_cast<uint32_t>(seconds.count()),
      .date_nanoseconds = static_cast<uint32_t>(std::chrono::nanoseconds(now - seconds).count()),
      .disk_bytes = header.size_bytes,
      .extra_data = snapshot_extra_data(header.size_bytes)};
  switch_.emplace(image_, list_, deadline_);
  list_.snapshots.push_back(changed_);
  list_.table_bytes = write_snapshots(list_.snapshots).size();
  if (list_.snapshots.size() > kSnapshotsMax || list_.table_bytes > kSnapshotTableBytesMax) {
    switch_.reset();
    co_return refuse(EFBIG, fmt::format("the image has {} snapshots, and can have no more",
                                        list_.snapshots.size() - 1));
  }
  l1_.clear();
  for (const auto& entry : image_.l1_) l1_.push_back(entry.load());
  Task reserving = switch_->reserve(
      request,
      {.l2_tables = active_tables(), .l1_entries = l1_.size(), .list_bytes = list_.table_bytes});
  Status status = co_await reserving;
  if (status.ok()) {
    Task switching = switch_to_fork(request, l1_.size(), header.size_bytes, true);
    status = co_await switching;
  }
  if (status.ok()) co_return status;
  switch_->cancel();
  switch_.reset();
  co_return explain(status, fmt::format("the snapshot {} cannot be taken", shown(name)));
}

// The disk gets a copy of the L1 table.
Task Snapshots::switch_to_fork(Request& request, uint64_t l1_entries, uint64_t size_bytes,
                               bool new_list) {
  AsyncMutex::Hold hold(switch_->refcounts().mutex(), *request.ring);
  co_await hold;
  Task forking = switch_->fork(request, l1_, l1_entries);
  if (const Status forked = co_await forking; !forked.ok()) co_return forked;
  if (new_list) {
    Task writing_list = switch_->write_list(request, list_);
    if (const Status written = co_await writing_list; !written.ok()) co_return written;
  }
  switch_->set_size(size_bytes);
  Task writing = switch_->write_tables(request);
  if (const Status written = co_await writing; !written.ok()) co_return written;
  if (const Status in_time = switch_->check_time(); !in_time.ok()) co_return in_time;
  Task committing = switch_->commit(request, list_);
  co_return co_await committing;
}

Task Snapshots::settle(Request& request) {
  if (!switch_) co_return kOk;
  Task settling = switch_->settle(request);
  const Status settled = co_await settling;
  switch_.reset();
  co_return settled;
}

// --- Deleting one

Task Snapshots::remove(Request& request, const std::string& name_or_id) {
  Task finding = find(request, name_or_id);
  if (const Status found = co_await finding; !found.ok()) co_return found;
  switch_.emplace(image_, list_, deadline_);
  std::erase_if(list_.snapshots, [this](const Snapshot& each) {
    return each.id == changed_.id && each.l1_offset == changed_.l1_offset;
  });
  const bool any_left = !list_.snapshots.empty();
  list_.table_bytes = write_snapshots(list_.snapshots).size();
  Task reserving = switch_->reserve(request, {.l2_tables = active_tables(),
                                              .l1_entries = image_.l1_.size(),
                                              .list_bytes = any_left ? list_.table_bytes : 0});
  Status status = co_await reserving;
  bool is_gone = false;
  if (status.ok()) {
    Task switching = switch_without(request, changed_.l1_offset, true, is_gone);
    status = co_await switching;
  }
  if (status.ok()) co_return status;
  switch_->cancel();
  switch_.reset();
  const std::string name = shown(changed_.name);
  co_return explain(
      status, is_gone ? fmt::format("the snapshot {} is deleted, but its clusters could not be"
                                    " freed (sluice check --repair leaks does that)",
                                    name)
                      : fmt::format("the snapshot {} cannot be deleted", name));
}

// All is ready before the list changes. If the new refcounts cannot take effect then, clusters are
// leaked.
Task Snapshots::switch_without(Request& request, uint64_t l1_offset, bool new_list, bool& is_gone) {
  AsyncMutex::Hold hold(switch_->refcounts().mutex(), *request.ring);
  co_await hold;
  Task dropping = switch_->drop_tree(request, l1_offset, l1_);
  if (const Status dropped = co_await dropping; !dropped.ok()) co_return dropped;
  Task marking = switch_->mark_copied(request);
  if (const Status marked = co_await marking; !marked.ok()) co_return marked;
  if (new_list) {
    Task writing_list = switch_->write_list(request, list_);
    if (const Status written = co_await writing_list; !written.ok()) co_return written;
  }
  Task writing = switch_->write_tables(request);
  if (const Status written = co_await writing; !written.ok()) co_return written;
  if (const Status in_time = switch_->check_time(); !in_time.ok()) co_return in_time;
  if (new_list) {
    Task committing_list = switch_->commit_list(request, list_);
    if (const Status committed = co_await committing_list; !committed.ok()) co_return committed;
  }
  is_gone = true;
  Task discarding = switch_->discard_freed(request);
  std::ignore = co_await discarding;
  Task committing = switch_->commit(request, list_);
  co_return co_await committing;
}

Task Snapshots::find(Request& request, const std::string& name_or_id) {
  Task reading = read(request);
  if (const Status status = co_await reading; !status.ok()) co_return status;
  const Snapshot* const found = find_snapshot(list_.snapshots, name_or_id);
  if (found == nullptr) {
    co_return refuse(ENOENT, fmt::format("{} has no snapshot {}: sluice snapshot -l lists them",
                                         shown(image_.options_.name), shown(name_or_id)));
  }
  changed_ = *found;
  Task reading_l1 = read_l1(request);
  const Status status = co_await reading_l1;
  co_return status.ok()
      ? status
      : explain(status, fmt::format("the snapshot {} cannot be read", shown(changed_.name)));
}

Task Snapshots::read_l1(Request& request) {
  std::vector<std::byte> table(changed_.l1_entries * sizeof(uint64_t));
  StorageBytes bytes(image_.storage_);
  Task reading = bytes.read(request, changed_.l1_offset, table);
  if (const Status status = co_await reading; !status.ok()) co_return status;
  l1_.clear();
  for (size_t i = 0; i < changed_.l1_entries; ++i) {
    const auto entry = load_big_endian<uint64_t>(table, i * sizeof(uint64_t));
    if ((entry & kReservedOfL1) != 0) co_return Status::from_errno(EUCLEAN);
    l1_.push_back(entry);
  }
  co_return kOk;
}

// --- Applying one

// The state of a virtual machine, behind the end of the disk, is left out.
Task Snapshots::apply(Request& request, const std::string& name_or_id) {
  if (image_.header_.bitmaps) {
    co_return refuse(EBUSY,
                     "the image has dirty bitmaps, which would not know of the change: remove them"
                     " first");
  }
  Task finding = find(request, name_or_id);
  if (const Status found = co_await finding; !found.ok()) co_return found;
  const uint64_t former_l1 = image_.header_.l1_offset;
  std::vector<uint64_t> former;
  for (const auto& entry : image_.l1_) former.push_back(entry.load());
  const uint64_t entries = image_.header_.l1_entries_needed(changed_.disk_bytes);
  l1_.resize(entries);
  switch_.emplace(image_, list_, deadline_);
  Task reserving = switch_->reserve(
      request, {.l2_tables = count_tables(l1_), .l1_entries = entries, .list_bytes = 0});
  Status status = co_await reserving;
  if (status.ok()) {
    Task switching = switch_to_fork(request, entries, changed_.disk_bytes, false);
    status = co_await switching;
  }
  if (!status.ok()) {
    switch_->cancel();
    switch_.reset();
    co_return explain(status,
                      fmt::format("the snapshot {} cannot be applied", shown(changed_.name)));
  }
  Task settling = settle(request);
  std::ignore = co_await settling;
  l1_ = std::move(former);
  Task dropping = drop_former_tree(request, former_l1);
  co_return co_await dropping;
}

// Of the disk before; if that fails, clusters are leaked.
Task Snapshots::drop_former_tree(Request& request, uint64_t l1_offset) {
  switch_.emplace(image_, list_, deadline_);
  Task reserving = switch_->reserve(
      request, {.l2_tables = active_tables(), .l1_entries = image_.l1_.size(), .list_bytes = 0});
  Status status = co_await reserving;
  bool is_gone = false;
  if (status.ok()) {
    Task switching = switch_without(request, l1_offset, false, is_gone);
    status = co_await switching;
  }
  if (status.ok()) co_return status;
  switch_->cancel();
  switch_.reset();
  co_return explain(status,
                    fmt::format("the snapshot {} is applied, but the clusters of the former disk"
                                " could not be freed (sluice check --repair leaks does that)",
                                shown(changed_.name)));
}

}  // namespace sluice::qcow2
