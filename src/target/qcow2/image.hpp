// Image: the metadata of an open qcow2 image: where each part of the disk is, and how that changes.
//
// An entry that leads to a cluster is written after the cluster's refcount and its contents; a
// cluster to which no entry leads any more is used again only when that is durable
// (docs/formats/qcow2.md). Locks are taken in this order: the range of the disk (of the target),
// the tables' mutex, that of the refcounts, one block of the cache.
//
// Used by the coroutines of all reactors, between load() and close().
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/health.hpp"
#include "ring/async_mutex.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/bitmap/bitmap_store.hpp"
#include "target/qcow2/clusters.hpp"
#include "target/qcow2/mapping.hpp"
#include "target/qcow2/seen_blocks.hpp"
#include "target/qcow2/snapshot_table.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

class Image {
 public:
  struct Options {
    std::string name = {};  // for messages
    bool writable = false;
    uint64_t cache_bytes = 0;      // for blocks of tables
    bool compress = false;         // whole clusters are compressed when they are written
    std::string snapshot = {};     // name or id; empty: the disk as it is now
    bool has_bitmaps = false;      // its bitmaps are read; always if writable
    bool outlives_server = false;  // see OpenContext
  };

  // `data`: where guest data is: `storage`, what enciphers it on its way there, or an external data
  // file.
  Image(Options options, Header header, Target& storage, Target& data);

  // Reads and checks the tables. For `serve`, and then again after close().
  Task load(Request& request, LifeCall& call);
  // Makes all metadata durable, and frees what is not used.
  Task close(Request& request);

  // The first run of a range of the disk. EIO: the image is corrupt there, and from now on
  // read-only. `by_place`: see MappingRules.
  Task look_up(Request& request, uint64_t offset, uint64_t length, Run& run, bool by_place = false);

  // --- Changes. The caller holds the range of the disk, whole clusters, exclusively; the clusters
  // have their entries in one block of the cache: see clusters_together().
  Task prepare_table(Request& request, uint64_t offset);
  bool has_table(uint64_t offset) const;
  Task load_entries(Request& request, uint64_t offset, std::span<L2Entry> entries);
  // After prepare_table(). `counted`: refcounts that the entries rely on.
  Task store_entries(Request& request, uint64_t offset, std::span<const L2Entry> entries,
                     std::span<const BlockVersion> counted, BlockVersion& stored);
  // Before a write whose entries were stored is acknowledged. Waits if the device outlives its
  // server.
  Task keep(Request& request, BlockVersion stored);
  bool outlives_server() const { return options_.outlives_server; }
  // Whether the entry for `offset`, which has a table, was found to agree with the refcounts. If it
  // is not known, ask for the clusters of the range, whose entries are in one block. EIO: no.
  bool is_counted(uint64_t offset) const;
  Task check_counted(Request& request, uint64_t offset, uint64_t length);
  // How many clusters from `offset` on have their entries in one block.
  uint64_t clusters_together(uint64_t offset) const;

  Task flush(Request& request);
  // Of guest data alone: whatever has been written, mapped or not.
  Task flush_data(Request& request) { return cache_->make_data_durable(request); }

  // --- Growth, one call at a time, and nobody else uses the disk during the first.
  Task grow_l1(Request& request, uint64_t size_bytes);
  // Durable at once.
  Task store_size(Request& request, uint64_t size_bytes);

  // --- The chain. Nobody else uses the disk meanwhile.
  // Removes the name of the backing file from the header, durably; nothing else there changes.
  Task forget_backing(Request& request);
  // Makes everything durable, and the image one that is only read. It is so whatever is returned.
  Task freeze(Request& request);
  // Then: as the disk has it. After a failure what needs a table fails.
  Task reload(Request& request);

  bool loaded() const { return cache_ != nullptr; }
  Clusters& clusters() { return *clusters_; }
  Bitmaps& bitmaps() { return bitmaps_; }
  const Bitmaps& bitmaps() const { return bitmaps_; }
  const BitmapStore& bitmap_store() const { return bitmap_store_; }
  BitmapStore& bitmap_store() { return bitmap_store_; }
  // Whether a write of guest data there would overwrite metadata.
  bool is_metadata(uint64_t host, uint64_t bytes) const { return metadata_->touches(host, bytes); }
  const Header& header() const { return header_; }
  MappingRules rules() const;
  bool corrupt() const { return corrupt_.load(std::memory_order_relaxed); }
  Health health() const;
  // Says that the image is corrupt, also in the image itself. `what`, a constant, follows "the
  // entry for offset 0". Returns EIO.
  Task report_corruption(Request& request, uint64_t offset,
                         std::string_view what = "leads to where it must not");

 private:
  friend class Snapshots;
  friend class TableSwitch;
  using Table = std::vector<std::atomic<uint64_t>>;

  Task load_header(Request& request, LifeCall& call);
  Task load_l1(Request& request, LifeCall& call);
  Task load_refcount_table(Request& request, LifeCall& call);
  Task load_snapshots(Request& request, LifeCall& call, SnapshotTable& list);
  Task find_snapshot(Request& request, LifeCall& call, uint64_t& offset, uint32_t& entries);
  Task begin_writing(Request& request, LifeCall& call);
  Task set_features(Request& request, uint64_t incompatible, uint64_t autoclear);
  Task load_and_look_up(Request& request, uint64_t offset, uint64_t length, Run& run,
                        bool by_place);
  Status run_in(const ReadPin& table, uint64_t place, uint64_t offset, uint64_t length,
                bool by_place, Run& run) const;
  void try_again();
  Task settle(Request& request);
  Task release_table(Request& request, uint64_t table, BlockVersion gone);
  Task copy_cluster(Request& request, uint64_t from, uint64_t to);
  Result<void> create_cache();
  bool has_data_file() const { return header_.has(kExternalData); }
  bool leads_to_metadata(const L2Entry& entry) const;
  void forget_counted(uint64_t table);
  Task settle_l1(Request& request);
  Task publish_size(Request& request, uint64_t size_bytes, BlockVersion& stored);
  Task move_l1(Request& request, uint64_t needed, const Allocation& place, bool& linked);
  Status check_table_offset(uint64_t offset) const;
  Status collect_metadata(const std::vector<uint64_t>& refcount_blocks,
                          const SnapshotTable& snapshots);

  uint64_t l1_index(uint64_t offset) const { return offset / header_.table_span_bytes(); }
  uint64_t table_of(uint64_t offset) const {
    return l1_[l1_index(offset)].load(std::memory_order_acquire) & kOffsetMask;
  }
  // The place of the entry for `offset`, in bytes of the image.
  uint64_t entry_place(uint64_t table, uint64_t offset) const {
    const uint64_t index = offset >> header_.cluster_bits & (header_.l2_entries() - 1);
    return table + index * header_.l2_entry_bytes();
  }

  Options options_;  // changed by freeze() only
  Header header_;
  MappingRules rules_;
  Target& storage_;
  Target& data_;
  uint64_t block_bytes_ = 0;    // of the cache
  mutable std::mutex opening_;  // of the cache, which health() looks at
  std::unique_ptr<MetadataCache> cache_;
  std::unique_ptr<ClusterSet> metadata_;  // if writable, as is what follows
  std::unique_ptr<Clusters> clusters_;
  Bitmaps bitmaps_;
  BitmapStore bitmap_store_;
  std::unique_ptr<SeenBlocks> counted_;  // of tables: see is_counted()
  uint64_t snapshot_table_bytes_ = 0;
  AsyncMutex tables_;  // changes of l1_
  Table l1_;
  BlockVersion switched_{};  // of the header: leads to an L1 table not known to be durable
  std::atomic<bool> corrupt_ = false;
};

}  // namespace sluice::qcow2
