// Clusters: streams of compressed clusters.
//
// A host cluster has one reference for each stream in it. A stream that continues in the cluster
// behind has one there, too.
#include "target/qcow2/clusters.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {

Task Clusters::allocate_packed(Request& request, uint64_t align, PackedStreams& streams) {
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  packed_end_ = (packed_end_ + align - 1) / align * align;
  Packing packing;
  Status status;
  streams.offsets.resize(streams.lengths.size());
  for (size_t i = 0; i < streams.lengths.size() && status.ok(); ++i) {
    Task placing = place_stream(request, streams.lengths[i], packing, streams.offsets[i]);
    status = co_await placing;
  }
  if (!status.ok()) {
    packed_end_ = 0;
    for (const Allocation& each : packing.taken) give_back(each);
    co_return status;
  }
  for (const Allocation& each : packing.taken) {
    if (streams.counted.empty() || streams.counted.back().number != each.counted.number) {
      streams.counted.push_back(each.counted);
    }
  }
  Task counting = count_added(request, packing.added, streams.counted);
  status = co_await counting;
  if (!status.ok()) packed_end_ = 0;
  co_return status;
}

Task Clusters::place_stream(Request& request, uint64_t length, Packing& packing, uint64_t& offset) {
  const uint64_t used = packed_end_ % cluster_bytes_;
  const uint64_t cluster = packed_end_ - used;
  const bool may_share = used != 0 && packed_count_ < refcount_max_;
  if (may_share && length <= cluster_bytes_ - used) {
    offset = packed_end_;
    ++packed_count_;
    packing.added.push_back(cluster);
  } else {
    Allocation next;
    Task taking = take(request, 1, next);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    packing.taken.push_back(next);
    const bool goes_on = may_share && next.offset == cluster + cluster_bytes_;
    if (goes_on) packing.added.push_back(cluster);
    offset = goes_on ? packed_end_ : next.offset;
    packed_count_ = 1;
  }
  packed_end_ = offset + length;
  co_return kOk;
}

// One more reference for each time that a cluster is in the list, which goes up where it can.
Task Clusters::count_added(Request& request, std::span<const uint64_t> added,
                           std::vector<BlockVersion>& counted) {
  for (size_t first = 0; first < added.size();) {
    const uint64_t number = block_of(added[first] / cluster_bytes_);
    WritePin refcounts;
    Task taking = cache_.write(request, number, refcounts);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    for (; first < added.size(); ++first) {
      const uint64_t cluster = added[first] / cluster_bytes_;
      if (block_of(cluster) != number) break;
      const uint64_t index = cluster % per_cache_block_;
      const uint64_t count = get_refcount(refcounts.bytes(), order_, index);
      set_refcount(refcounts.bytes(), order_, index, count + 1);
    }
    counted.push_back(refcounts.publish());
  }
  co_return kOk;
}

Task Clusters::give_back_packed(Request& request, const PackedStreams& streams) {
  AsyncMutex::Hold hold(changing_, *request.ring);
  co_await hold;
  packed_end_ = 0;
  for (size_t i = 0; i < streams.offsets.size(); ++i) {
    const uint64_t last = (streams.offsets[i] + streams.lengths[i] - 1) / cluster_bytes_;
    for (uint64_t cluster = streams.offsets[i] / cluster_bytes_; cluster <= last; ++cluster) {
      WritePin refcounts;
      Task taking = cache_.write(request, block_of(cluster), refcounts);
      if (const Status taken = co_await taking; !taken.ok()) co_return taken;
      const uint64_t index = cluster % per_cache_block_;
      const uint64_t count = get_refcount(refcounts.bytes(), order_, index);
      if (count == 1) {
        drop_only(cluster * cluster_bytes_);
        continue;
      }
      set_refcount(refcounts.bytes(), order_, index, count - 1);
      refcounts.publish();
    }
  }
  co_return kOk;
}

}  // namespace sluice::qcow2
