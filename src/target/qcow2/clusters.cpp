#include "target/qcow2/clusters.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/big_endian.hpp"
#include "ring/offload.hpp"
#include "ring/ring.hpp"
#include "target/plain_request.hpp"
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

}  // namespace sluice::qcow2
