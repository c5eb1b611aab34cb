// Clusters: refcounts that are read, and clusters that become free.
#include <algorithm>
#include <tuple>

#include "target/plain_request.hpp"
#include "target/qcow2/clusters.hpp"
#include "target/qcow2/refcount_block.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

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
