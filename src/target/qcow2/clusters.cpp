#include "target/qcow2/clusters.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/big_endian.hpp"
#include "ring/offload.hpp"
#include "ring/ring.hpp"
#include "target/qcow2/image_request.hpp"
#include "target/qcow2/refcount_block.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kAdvanceBytes = 1 << 20;  // allocated in advance
constexpr uint64_t kAdvanceMost = 64;        // clusters
constexpr uint64_t kGrowthBytes = 16 << 20;  // of the storage, at least

}  // namespace

Clusters::Clusters(const Header& header, Target& storage, MetadataCache& cache,
                   ClusterSet& metadata, uint64_t cache_block_bytes, std::vector<uint64_t> table)
    : order_(header.refcount_order),
      refcount_max_(header.refcount_max()),
      cluster_bytes_(header.cluster_bytes()),
      per_block_(header.refcounts_per_block()),
      cache_block_bytes_(cache_block_bytes),
      per_cache_block_(cache_block_bytes * 8 >> header.refcount_order),
      storage_(storage),
      cache_(cache),
      metadata_(metadata),
      table_(std::move(table)),
      table_offset_(header.refcount_table_offset),
      table_clusters_(header.refcount_table_clusters) {}

bool Clusters::has_block(uint64_t cluster) const {
  const uint64_t index = cluster / per_block_;
  return index < table_.size() && table_[index] != 0;
}

uint64_t Clusters::block_of(uint64_t cluster) const {
  const uint64_t in_block = cluster % per_block_ / per_cache_block_;
  return table_[cluster / per_block_] / cache_block_bytes_ + in_block;
}

// --- Allocation

Task Clusters::allocate(Request& request, uint64_t wanted, Allocation& allocated) {
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  Task taking = take(request, wanted, allocated);
  co_return co_await taking;
}

Task Clusters::take(Request& request, uint64_t wanted, Allocation& allocated) {
  if (take_unused(wanted, allocated)) co_return kOk;
  if (reserve_.count == 0) {
    const uint64_t advance = std::clamp(kAdvanceBytes / cluster_bytes_, uint64_t{1}, kAdvanceMost);
    Task refilling = refill(request, std::max(wanted, advance));
    const Status refilled = co_await refilling;
    if (!refilled.ok()) co_return refilled;
  }
  allocated = take_from(reserve_, wanted);
  co_return kOk;
}

Allocation Clusters::take_from(Allocation& from, uint64_t wanted) const {
  Allocation taken = from;
  taken.count = std::min(from.count, wanted);
  from.offset += taken.count * cluster_bytes_;
  from.count -= taken.count;
  return taken;
}

bool Clusters::take_unused(uint64_t wanted, Allocation& allocated) {
  const std::lock_guard guard(mutex_);
  if (unused_.empty()) return false;
  allocated = take_from(unused_.back(), wanted);
  if (unused_.back().count == 0) unused_.pop_back();
  return true;
}

// The allocator goes forward, so what it gives is in a row sooner or later.
Task Clusters::allocate_run(Request& request, uint64_t count, Allocation& allocated) {
  // A refcount block lies in the first of the clusters that it counts: no row is longer.
  if (count >= per_block_) co_return Status::from_errno(EFBIG);
  std::vector<Allocation> rejected;
  Status status;
  allocated = {};
  while (status.ok() && allocated.count < count) {
    Allocation more;
    Task allocating = allocate(request, count - allocated.count, more);
    status = co_await allocating;
    if (!status.ok()) break;
    const bool follows = allocated.offset + allocated.count * cluster_bytes_ == more.offset;
    if (allocated.count != 0 && !follows) rejected.push_back(std::exchange(allocated, {}));
    if (allocated.count == 0) {
      allocated = more;
    } else {
      allocated.count += more.count;
      allocated.counted = more.counted;
    }
  }
  if (!status.ok()) rejected.push_back(std::exchange(allocated, {}));
  for (const Allocation& each : rejected) give_back(each);
  co_return status;
}

Task Clusters::allocate_all(Request& request, uint64_t count, std::vector<Allocation>& allocated) {
  for (uint64_t left = count; left != 0; left -= allocated.back().count) {
    Allocation more;
    Task allocating = allocate(request, left, more);
    if (const Status status = co_await allocating; !status.ok()) co_return status;
    allocated.push_back(more);
  }
  co_return kOk;
}

uint64_t Clusters::block_count() const {
  return static_cast<uint64_t>(
      std::ranges::count_if(table_, [](uint64_t each) { return each != 0; }));
}

void Clusters::retire(uint64_t offset, uint64_t count) {
  const std::lock_guard guard(mutex_);
  for (uint64_t i = 0; i < count; ++i) retired_.push_back(offset + i * cluster_bytes_);
}

void Clusters::give_back(const Allocation& unused) {
  const std::lock_guard guard(mutex_);
  if (unused.count != 0) unused_.push_back(unused);
}

// Finds free clusters from the cursor on, counts them, and makes them the reserve.
Task Clusters::refill(Request& request, uint64_t wanted) {
  for (;;) {
    if (switched_.slot != nullptr) {
      Task waiting = cache_.make_durable(request, switched_);
      const Status durable = co_await waiting;
      if (!durable.ok()) co_return durable;
      switched_ = {};
    }
    const uint64_t index = cursor_ / per_block_;
    if (index >= table_.size() || table_[index] == 0) {
      Task extending =
          index >= table_.size() ? grow_table(request, index) : add_block(request, index);
      const Status extended = co_await extending;
      if (!extended.ok()) co_return extended;
      continue;
    }
    ReadPin refcounts;
    Task reading = cache_.read(request, block_of(cursor_), refcounts);
    const Status read = co_await reading;
    if (!read.ok()) co_return read;
    uint64_t first = cursor_ % per_cache_block_;
    while (first != per_cache_block_ && get_refcount(refcounts.bytes(), order_, first) != 0)
      ++first;
    cursor_ += first - cursor_ % per_cache_block_;
    if (first == per_cache_block_) continue;
    uint64_t end = first + 1;
    while (end != per_cache_block_ && end - first != wanted &&
           get_refcount(refcounts.bytes(), order_, end) == 0) {
      ++end;
    }
    refcounts.release();
    Task counting = count_one(request, cursor_, end - first);
    co_return co_await counting;
  }
}

Task Clusters::count_one(Request& request, uint64_t first, uint64_t count) {
  if (metadata_.touches(first * cluster_bytes_, count * cluster_bytes_)) {
    co_return Status::from_errno(EUCLEAN);
  }
  Task growing = make_room(request, (first + count) * cluster_bytes_);
  const Status grown = co_await growing;
  if (!grown.ok()) co_return grown;
  WritePin refcounts;
  Task taking = cache_.write(request, block_of(first), refcounts);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  for (uint64_t i = 0; i < count; ++i) {
    set_refcount(refcounts.bytes(), order_, first % per_cache_block_ + i, 1);
  }
  reserve_ = {.offset = first * cluster_bytes_, .count = count, .counted = refcounts.publish()};
  cursor_ = first + count;
  co_return kOk;
}

// The storage is a file that grows, or has its size for good.
Task Clusters::make_room(Request& request, uint64_t end) {
  if (end <= storage_.geometry().size_bytes) co_return kOk;
  const uint64_t wanted = (end + kGrowthBytes - 1) / kGrowthBytes * kGrowthBytes;
  auto grow = [this, wanted] {
    const auto grown = storage_.resize(wanted);
    if (grown) return kOk;
    const int error = grown.error().error;
    return Status::from_errno(error == EOPNOTSUPP || error == EINVAL ? ENOSPC : error);
  };
  RingOffload* const offload = RingOffload::of(*request.ring);
  if (offload == nullptr) co_return grow();
  Offload::Job job(offload->threads, offload->count, "grow image", grow);
  co_return co_await job;
}

Task Clusters::clear(Request& request, uint64_t offset) {
  Request clearing = plain(request, Op::write_zeroes, offset, cluster_bytes_);
  clearing.may_unmap = false;  // with space for what is written there later
  Task served = storage_.submit(clearing);
  co_return co_await served;
}

// A refcount block for clusters that have none, all of which are free: the block is the first of
// them. Durable at once: no entry may lead to a cluster that has no refcount.
Task Clusters::add_block(Request& request, uint64_t index) {
  if (linked_index_ != index) {
    Task linking = link_block(request, index);
    const Status done = co_await linking;
    if (!done.ok()) co_return done;
  }
  Task waiting = cache_.make_durable(request, linked_);
  const Status durable = co_await waiting;
  if (!durable.ok()) co_return durable;
  table_[index] = index * per_block_ * cluster_bytes_;
  metadata_.add(table_[index]);
  co_return kOk;
}

// Once for each block: after a failure of add_block() the disk may lead to it, and it must not be
// cleared again.
Task Clusters::link_block(Request& request, uint64_t index) {
  const uint64_t offset = index * per_block_ * cluster_bytes_;
  if (metadata_.touches(offset, cluster_bytes_)) co_return Status::from_errno(EUCLEAN);
  Task growing = make_room(request, offset + cluster_bytes_);
  const Status grown = co_await growing;
  if (!grown.ok()) co_return grown;
  Task clearing = clear(request, offset);
  const Status cleared = co_await clearing;
  if (!cleared.ok()) co_return cleared;
  WritePin block;
  Task taking = cache_.write_new(request, offset / cache_block_bytes_, block);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  set_refcount(block.bytes(), order_, 0, 1);
  const BlockVersion counted = block.publish();

  WritePin entry;
  const uint64_t place = table_offset_ + index * sizeof(uint64_t);
  Task taking_entry = cache_.write(request, place / cache_block_bytes_, entry);
  const Status taken_entry = co_await taking_entry;
  if (!taken_entry.ok()) co_return taken_entry;
  Task ordering = cache_.order_after(request, entry, counted);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  Task ordering_clear = cache_.order_after_child(request, entry);
  const Status ordered_clear = co_await ordering_clear;
  if (!ordered_clear.ok()) co_return ordered_clear;
  store_big_endian(entry.bytes(), place % cache_block_bytes_, offset);
  linked_ = entry.publish();
  linked_index_ = index;
  co_return kOk;
}

// --- Freeing

Task Clusters::refcount(Request& request, uint64_t offset, uint64_t& count) {
  const uint64_t cluster = offset / cluster_bytes_;
  count = 0;
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  if (!has_block(cluster)) co_return kOk;
  ReadPin refcounts;
  Task reading = cache_.read(request, block_of(cluster), refcounts);
  const Status read = co_await reading;
  if (read.ok()) count = get_refcount(refcounts.bytes(), order_, cluster % per_cache_block_);
  co_return read;
}

// Neighbours are in one block.
Task Clusters::refcounts(Request& request, std::span<const uint64_t> offsets,
                         std::span<uint64_t> counts) {
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  ReadPin pin;
  uint64_t pinned = UINT64_MAX;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const uint64_t cluster = offsets[i] / cluster_bytes_;
    counts[i] = 0;
    if (!has_block(cluster)) continue;
    if (block_of(cluster) != pinned) {
      if (pin.held()) pin.release();
      pinned = block_of(cluster);
      Task reading = cache_.read(request, pinned, pin);
      if (const Status read = co_await reading; !read.ok()) co_return read;
    }
    counts[i] = get_refcount(pin.bytes(), order_, cluster % per_cache_block_);
  }
  co_return kOk;
}

Task Clusters::drop(Request& request, uint64_t offset, BlockVersion gone) {
  const uint64_t cluster = offset / cluster_bytes_;
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  if (!has_block(cluster)) co_return Status::from_errno(EUCLEAN);
  WritePin refcounts;
  Task taking = cache_.write(request, block_of(cluster), refcounts);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  const uint64_t count = get_refcount(refcounts.bytes(), order_, cluster % per_cache_block_);
  if (count == 0) co_return Status::from_errno(EUCLEAN);
  if (count == 1) {
    // It will be discarded: no more streams are packed into it.
    if (packed_end_ / cluster_bytes_ == cluster) packed_end_ = 0;
    drop_only(cluster * cluster_bytes_);
    co_return kOk;
  }
  Task ordering = cache_.order_after(request, refcounts, gone);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  set_refcount(refcounts.bytes(), order_, cluster % per_cache_block_, count - 1);
  refcounts.publish();
  co_return kOk;
}

void Clusters::drop_only(uint64_t offset) {
  const std::lock_guard guard(mutex_);
  dropped_.push_back({.number = ++drops_, .offset = offset});
}

uint64_t Clusters::dropped_until_now() {
  const std::lock_guard guard(mutex_);
  return drops_;
}

Task Clusters::free_dropped(Request& request, uint64_t until) {
  std::vector<uint64_t> offsets;
  {
    const std::lock_guard guard(mutex_);
    const auto kept = std::ranges::partition(
        dropped_, [until](const Dropped& each) { return each.number <= until; });
    for (auto each = dropped_.begin(); each != kept.begin(); ++each)
      offsets.push_back(each->offset);
    dropped_.erase(dropped_.begin(), kept.begin());
  }
  if (offsets.empty()) co_return kOk;
  std::ranges::sort(offsets);
  Task discarding = discard(request, offsets);
  std::ignore = co_await discarding;  // best effort
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  Task freeing = set_free(request, offsets);
  co_return co_await freeing;
}

Task Clusters::free_unused(Request& request) {
  std::vector<uint64_t> offsets;
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  {
    const std::lock_guard guard(mutex_);
    unused_.push_back(std::exchange(reserve_, {}));
    for (const Allocation& each : std::exchange(unused_, {})) {
      for (uint64_t i = 0; i < each.count; ++i) offsets.push_back(each.offset + i * cluster_bytes_);
    }
    std::ranges::copy(std::exchange(retired_, {}), std::back_inserter(offsets));
  }
  std::ranges::sort(offsets);
  Task freeing = set_free(request, offsets);
  co_return co_await freeing;
}

// In runs, of sorted clusters.
Task Clusters::discard(Request& request, std::span<const uint64_t> offsets) {
  if (!storage_.geometry().can_discard) co_return kOk;
  for (size_t first = 0; first < offsets.size();) {
    size_t end = first + 1;
    while (end < offsets.size() && offsets[end] == offsets[end - 1] + cluster_bytes_) ++end;
    Request discarding =
        plain(request, Op::discard, offsets[first], (end - first) * cluster_bytes_);
    Task served = storage_.submit(discarding);
    const Status status = co_await served;
    if (!status.ok()) co_return status;
    first = end;
  }
  co_return kOk;
}

Task Clusters::set_free(Request& request, std::span<const uint64_t> offsets) {
  for (size_t first = 0; first < offsets.size();) {
    if (!has_block(offsets[first] / cluster_bytes_)) {
      ++first;  // of a damaged image: there is nothing to free
      continue;
    }
    const uint64_t number = block_of(offsets[first] / cluster_bytes_);
    WritePin refcounts;
    Task taking = cache_.write(request, number, refcounts);
    const Status taken = co_await taking;
    if (!taken.ok()) co_return taken;
    cursor_ = std::min(cursor_, offsets[first] / cluster_bytes_);
    for (; first < offsets.size(); ++first) {
      const uint64_t cluster = offsets[first] / cluster_bytes_;
      if (!has_block(cluster) || block_of(cluster) != number) break;
      const uint64_t index = cluster % per_cache_block_;
      const uint64_t count = get_refcount(refcounts.bytes(), order_, index);
      if (count != 0) set_refcount(refcounts.bytes(), order_, index, count - 1);
    }
    refcounts.publish();
  }
  co_return kOk;
}

}  // namespace sluice::qcow2
