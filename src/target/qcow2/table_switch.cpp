#include "target/qcow2/table_switch.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>
#include <utility>

#include "core/big_endian.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kFieldsEnd = 72;  // in the header

uint64_t clusters_for(uint64_t bytes, uint64_t cluster_bytes) {
  return std::max<uint64_t>((bytes + cluster_bytes - 1) / cluster_bytes, 1);
}

// What begins a header, as far as a switch changes it.
void store_fields(std::span<std::byte> bytes, const Header& former, const Header& wanted) {
  if (wanted.size_bytes != former.size_bytes) store_big_endian(bytes, 24, wanted.size_bytes);
  store_big_endian(bytes, 36, wanted.l1_entries);
  store_big_endian(bytes, 40, wanted.l1_offset);
  store_big_endian(bytes, 48, wanted.refcount_table_offset);
  store_big_endian(bytes, 56, wanted.refcount_table_clusters);
  store_big_endian(bytes, 60, wanted.snapshots);
  store_big_endian(bytes, 64, wanted.snapshots_offset);
}

}  // namespace

TableSwitch::TableSwitch(Image& image, const SnapshotTable& list, Clock::time_point deadline)
    : image_(image),
      deadline_(deadline),
      cluster_bytes_(image.header_.cluster_bytes()),
      refcounts_(*image.clusters_),
      l2_(cluster_bytes_) {
  image.header_.refcount_table_offset = refcounts_.table_offset();
  image.header_.refcount_table_clusters = static_cast<uint32_t>(image.clusters_->table_clusters());
  // Without the tables of former times, which others may have now.
  std::ignore = image.collect_metadata(refcounts_.table(), list);
  next_ = image.header_;
  for (const auto& entry : image.l1_) active_.push_back(entry.load() & kOffsetMask);
  std::ranges::sort(active_);
}

// --- Clusters for the new tables

Task TableSwitch::reserve(Request& request, Needs needs) {
  Clusters& clusters = *image_.clusters_;
  Status status;
  if (needs.list_bytes != 0) {
    Task allocating =
        clusters.allocate_run(request, clusters_for(needs.list_bytes, cluster_bytes_), list_place_);
    status = co_await allocating;
  }
  if (status.ok()) {
    Task allocating = clusters.allocate_run(
        request, clusters_for(needs.l1_entries * sizeof(uint64_t), cluster_bytes_), l1_place_);
    status = co_await allocating;
  }
  if (status.ok()) {
    Task reserving = reserve_table(request, needs.l2_tables);
    status = co_await reserving;
  }
  if (!status.ok()) co_return status;
  Task flushing = image_.flush(request);
  co_return co_await flushing;
}

// What is allocated may itself need more refcount blocks, or a larger refcount table.
Task TableSwitch::reserve_table(Request& request, uint64_t l2_tables) {
  Clusters& clusters = *image_.clusters_;
  for (;;) {
    const uint64_t wanted = l2_tables + clusters.block_count();
    if (table_place_.count != clusters.table_clusters()) {
      clusters.give_back(std::exchange(table_place_, {}));
      Task allocating = clusters.allocate_run(request, clusters.table_clusters(), table_place_);
      if (const Status status = co_await allocating; !status.ok()) co_return status;
    } else if (places_.size() < wanted) {
      std::vector<Allocation> more;
      Task allocating = clusters.allocate_all(request, wanted - places_.size(), more);
      const Status status = co_await allocating;
      for (const Allocation& each : more) {
        for (uint64_t i = 0; i < each.count; ++i) {
          places_.push_back(
              {.offset = each.offset + i * cluster_bytes_, .count = 1, .counted = each.counted});
        }
      }
      if (!status.ok()) co_return status;
    } else {
      co_return kOk;
    }
  }
}

// Clusters to which the disk may lead are not used again before it durably does not.
void TableSwitch::cancel() {
  Clusters& clusters = *image_.clusters_;
  const auto end = [&](const Allocation& unused) {
    if (uncertain_) {
      clusters.retire(unused.offset, unused.count);
    } else {
      clusters.give_back(unused);
    }
  };
  for (Allocation* const each : {&l1_place_, &list_place_, &table_place_}) {
    end(std::exchange(*each, {}));
  }
  for (size_t i = 0; i < used_places_; ++i) end(places_[i]);
  give_back_places();
  replaced_.clear();
  for (const uint64_t place : std::exchange(former_list_, {})) clusters.retire(place, 1);
}

// Those that were not used, in runs.
void TableSwitch::give_back_places() {
  Allocation run;
  for (const Allocation& place : std::span(places_).subspan(used_places_)) {
    const bool follows = run.count != 0 && run.counted.number == place.counted.number &&
                         run.offset + run.count * cluster_bytes_ == place.offset;
    if (follows) {
      ++run.count;
      continue;
    }
    image_.clusters_->give_back(run);
    run = place;
  }
  image_.clusters_->give_back(run);
  places_.clear();
  used_places_ = 0;
}

// The cache may have blocks of former tables, also such that were changed by a flush of a client.
Task TableSwitch::settle(Request& request) {
  give_back_places();
  Task flushing = image_.flush(request);
  const Status flushed = co_await flushing;
  const uint64_t blocks = cluster_bytes_ / image_.block_bytes_;
  std::ranges::copy(std::exchange(former_list_, {}), std::back_inserter(replaced_));
  for (const uint64_t place : std::exchange(replaced_, {})) {
    const uint64_t first = place / image_.block_bytes_;
    if (flushed.ok() && image_.cache_->forget(first, blocks, *request.ring)) {
      image_.clusters_->drop_only(place);
    } else {
      image_.clusters_->retire(place, 1);
    }
  }
  Task freeing = image_.flush(request);
  std::ignore = co_await freeing;  // what cannot be freed now is freed later, or leaked
  co_return kOk;
}

// --- What takes effect

Status TableSwitch::check_time() const {
  return Status::from_errno(Clock::now() < deadline_ - kTimeToEnd ? 0 : ETIMEDOUT);
}

Task TableSwitch::write_list(Request& request, const SnapshotTable& list) {
  next_.snapshots = static_cast<uint32_t>(list.snapshots.size());
  next_.snapshots_offset = list_place_.offset;  // 0: the list is empty
  if (list.snapshots.empty()) co_return kOk;
  const std::vector<std::byte> bytes = write_snapshots(list.snapshots);
  const Buffer memory(list_place_.count * cluster_bytes_);
  std::ranges::fill(memory.bytes(), std::byte{0});
  std::ranges::copy(bytes, memory.bytes().begin());
  Task writing = write_bytes(request, list_place_.offset, memory.bytes());
  co_return co_await writing;
}

Task TableSwitch::write_tables(Request& request) {
  const Buffer memory(l1_place_.count * cluster_bytes_);
  std::ranges::fill(memory.bytes(), std::byte{0});
  for (size_t i = 0; i < new_l1_.size(); ++i) {
    store_big_endian(memory.bytes(), i * sizeof(uint64_t), new_l1_[i]);
  }
  next_.l1_entries = static_cast<uint32_t>(new_l1_.size());
  next_.l1_offset = l1_place_.offset;
  next_.refcount_table_offset = table_place_.offset;
  next_.refcount_table_clusters = static_cast<uint32_t>(table_place_.count);
  Task writing_l1 = write_bytes(request, l1_place_.offset, memory.bytes());
  if (const Status written = co_await writing_l1; !written.ok()) co_return written;
  const auto places = std::span(places_).subspan(used_places_);
  used_places_ += refcounts_.changed_blocks();
  Task writing = refcounts_.write(request, places, table_place_);
  co_return co_await writing;
}

Task TableSwitch::commit_list(Request& request, const SnapshotTable& list) {
  Header wanted = image_.header_;
  wanted.refcount_table_offset = refcounts_.table_offset();
  wanted.refcount_table_clusters = static_cast<uint32_t>(image_.clusters_->table_clusters());
  wanted.snapshots = next_.snapshots;
  wanted.snapshots_offset = next_.snapshots_offset;
  Task storing = store(request, wanted);
  if (const Status stored = co_await storing; !stored.ok()) co_return stored;
  adopt_list(list);
  co_return kOk;
}

Task TableSwitch::commit(Request& request, const SnapshotTable& list) {
  Task storing = store(request, next_);
  if (const Status stored = co_await storing; !stored.ok()) co_return stored;
  if (next_.snapshots_offset != image_.header_.snapshots_offset) adopt_list(list);
  adopt(list);
  co_return kOk;
}

// All fields are in one sector.
Task TableSwitch::store(Request& request, const Header& wanted) {
  image_.try_again();
  WritePin header;
  Task taking = image_.cache_->write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  Task ordering = image_.cache_->order_after_child(request, header);
  if (const Status ordered = co_await ordering; !ordered.ok()) co_return ordered;
  std::array<std::byte, kFieldsEnd> former{};
  std::ranges::copy(header.bytes().first(kFieldsEnd), former.begin());
  store_fields(header.bytes(), image_.header_, wanted);
  const BlockVersion changed = header.publish();
  Task waiting = image_.cache_->make_durable(request, changed);
  const Status durable = co_await waiting;
  if (durable.ok()) co_return durable;
  // Nobody knows what is on the disk now: it is to be the former state again.
  uncertain_ = true;
  image_.try_again();
  WritePin again;
  Task taking_again = image_.cache_->write(request, 0, again);
  if (const Status taken = co_await taking_again; !taken.ok()) co_return taken;
  std::ranges::copy(former, again.bytes().begin());
  const BlockVersion restored = again.publish();
  Task restoring = image_.cache_->make_durable(request, restored);
  uncertain_ = !(co_await restoring).ok();
  co_return durable;
}

void TableSwitch::adopt_list(const SnapshotTable& list) {
  for (uint64_t done = 0; done < image_.snapshot_table_bytes_; done += cluster_bytes_) {
    former_list_.push_back(image_.header_.snapshots_offset + done);
  }
  image_.header_.snapshots = next_.snapshots;
  image_.header_.snapshots_offset = next_.snapshots_offset;
  image_.snapshot_table_bytes_ = list.table_bytes;
  list_place_ = {};
}

void TableSwitch::adopt(const SnapshotTable& list) {
  refcounts_.adopt(replaced_);
  Image::Table table(new_l1_.size());
  for (size_t i = 0; i < new_l1_.size(); ++i) table[i].store(new_l1_[i], std::memory_order_relaxed);
  image_.l1_.swap(table);
  image_.header_.size_bytes = next_.size_bytes;
  image_.header_.l1_entries = next_.l1_entries;
  image_.header_.l1_offset = next_.l1_offset;
  image_.header_.refcount_table_offset = next_.refcount_table_offset;
  image_.header_.refcount_table_clusters = next_.refcount_table_clusters;
  std::ignore = image_.collect_metadata(refcounts_.table(), list);
  l1_place_ = table_place_ = {};
  places_.erase(places_.begin(), places_.begin() + static_cast<std::ptrdiff_t>(used_places_));
  used_places_ = 0;
}

}  // namespace sluice::qcow2
