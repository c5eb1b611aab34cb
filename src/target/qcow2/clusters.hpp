// Clusters: which host clusters of an image are in use: its refcounts.
//
// The life of a host cluster: free (refcount 0); allocated (refcount 1 or more); dropped (no entry
// leads to it any more, but it may still do so on the disk; its refcount stays); free again. A
// dropped cluster becomes free by a flush: when the entry that led to it is durably gone, its
// blocks are discarded, then its refcount is lowered. Only free clusters are allocated, so that no
// entry on the disk ever leads to the data of another owner.
//
// A few clusters are allocated in advance, so that most requests find one without changing a
// refcount. A power cut leaks them, and those that were dropped.
//
// Used by the coroutines of all reactors. The metadata cache outlives it.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "ring/async_mutex.hpp"
#include "target/metadata/metadata_cache.hpp"
#include "target/qcow2/allocation.hpp"
#include "target/qcow2/cluster_set.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

class Clusters {
 public:
  // `table`: the refcount table, whose entries have been checked.
  Clusters(const Header& header, Target& storage, MetadataCache& cache, ClusterSet& metadata,
           uint64_t cache_block_bytes, std::vector<uint64_t> table);
  Clusters(const Clusters&) = delete;
  Clusters& operator=(const Clusters&) = delete;

  // From 1 to `wanted` clusters. Their contents are undefined. ENOSPC: the image cannot grow;
  // EUCLEAN: metadata has a refcount of 0.
  Task allocate(Request& request, uint64_t wanted, Allocation& allocated);
  // As many, in a row. EFBIG: more than there can be in a row.
  Task allocate_run(Request& request, uint64_t count, Allocation& allocated);
  // The same in any places.
  Task allocate_all(Request& request, uint64_t count, std::vector<Allocation>& allocated);
  // Clusters of a table that is no longer used: they become free at the end.
  void retire(uint64_t offset, uint64_t count);
  // Makes the cluster at `offset`, which is to be a table, all zeroes.
  Task clear(Request& request, uint64_t offset);
  // A part of an allocation to which no entry leads.
  void give_back(const Allocation& unused);

  // Space for the streams (packing.cpp), behind those of the call before where that is possible:
  // from the next multiple of `align` on, which is at most a cluster. ENOSPC, EUCLEAN as above.
  Task allocate_packed(Request& request, uint64_t align, PackedStreams& streams);
  // No entry leads to these streams.
  Task give_back_packed(Request& request, const PackedStreams& streams);

  // Drops one reference to the cluster at `offset`: none leads to it when `gone` is durable.
  // EUCLEAN: its refcount is 0.
  Task drop(Request& request, uint64_t offset, BlockVersion gone);
  // The same for a cluster whose refcount is one.
  void drop_only(uint64_t offset);

  // Around a flush of all metadata: what was dropped before the first call is freed by the second.
  uint64_t dropped_until_now();
  Task free_dropped(Request& request, uint64_t until);
  // Before the end: frees also what was allocated in advance. Call free_dropped() before, and flush
  // afterwards.
  Task free_unused(Request& request);

  // Refcount blocks, and clusters of the refcount table. Call it while nobody allocates.
  uint64_t block_count() const;
  uint64_t table_clusters() const { return table_clusters_; }

  // The refcount of the cluster at `offset`.
  Task refcount(Request& request, uint64_t offset, uint64_t& count);
  // Of several. `counts` has as many elements.
  Task refcounts(Request& request, std::span<const uint64_t> offsets, std::span<uint64_t> counts);

 private:
  friend class RefcountChange;

  struct Dropped {
    uint64_t number;
    uint64_t offset;
  };

  // Streams that are given their places, and the references that they add.
  struct Packing {
    std::vector<Allocation> taken;
    std::vector<uint64_t> added;  // offsets of host clusters that were in use already
  };

  Task take(Request& request, uint64_t wanted, Allocation& allocated);
  Task place_stream(Request& request, uint64_t length, Packing& packing, uint64_t& offset);
  Task count_added(Request& request, std::span<const uint64_t> added,
                   std::vector<BlockVersion>& counted);
  Allocation take_from(Allocation& from, uint64_t wanted) const;
  bool take_unused(uint64_t wanted, Allocation& allocated);
  Task refill(Request& request, uint64_t wanted);
  Task count_one(Request& request, uint64_t first, uint64_t count);
  Task make_room(Request& request, uint64_t end);
  Task add_block(Request& request, uint64_t index);
  Task link_block(Request& request, uint64_t index);
  Task grow_table(Request& request, uint64_t index);
  Task write_new_table(Request& request, uint64_t first, uint64_t blocks,
                       const std::vector<uint64_t>& table);
  Task publish_table(Request& request, uint64_t offset, uint64_t clusters);
  Task discard(Request& request, std::span<const uint64_t> offsets);
  Task set_free(Request& request, std::span<const uint64_t> offsets);
  bool has_block(uint64_t cluster) const;
  // The block of the cache with the refcount of a cluster, which has_block().
  uint64_t block_of(uint64_t cluster) const;

  const uint32_t order_;
  const uint64_t refcount_max_;
  const uint64_t cluster_bytes_;
  const uint64_t per_block_;  // refcounts of a refcount block
  const uint64_t cache_block_bytes_;
  const uint64_t per_cache_block_;
  Target& storage_;
  MetadataCache& cache_;
  ClusterSet& metadata_;

  AsyncMutex changing_;  // guards all refcounts, and what follows
  std::vector<uint64_t> table_;
  uint64_t table_offset_;
  uint64_t table_clusters_;
  uint64_t linked_index_ = UINT64_MAX;  // of the newest refcount block
  BlockVersion linked_{};               // of its entry in the table
  BlockVersion switched_{};             // of the header: leads to a table not known to be durable
  uint64_t cursor_ = 0;                 // no cluster before it is free
  Allocation reserve_;
  uint64_t packed_end_ = 0;    // of the newest stream; the rest of its cluster is for the next one
  uint64_t packed_count_ = 0;  // streams in that cluster, some of which may be dropped

  std::mutex mutex_;  // guards what follows, for moments
  std::vector<Allocation> unused_;
  std::vector<Dropped> dropped_;
  uint64_t drops_ = 0;
  std::vector<uint64_t> retired_;
};

}  // namespace sluice::qcow2
