// Pool: a thin pool that is served: where the blocks of its volumes are, and how that changes.
//
// Data blocks are reserved, filled, and only then mapped. Lookups of mappings that were used lately
// take no lock; all others, and all changes, are steps of the one transaction (LiveTransaction).
//
// Locks are taken in this order: the range of a volume (Volume::ranges()), the transaction, a block
// of the cache. Errors that a client sees: ENOSPC, and EIO for all that is wrong with the metadata.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "target/life/life_call.hpp"
#include "target/thin/live_transaction.hpp"
#include "target/thin/volume.hpp"

namespace sluice::thin {

class Pool {
 public:
  using Placing = persistent::ServedTransaction::Placing;

  // Both targets outlive it.
  Pool(PoolOptions options, Target& metadata, Target& data);

  // --- Life. Once opened, the block size is known; ENODEV: it has no such volume; EEXIST: it is
  // served already.
  Task open(Request& request, LifeCall& call);
  Task open_volume(Request& request, LifeCall& call, Volume& volume);
  Task close_volume(Request& request, Volume& volume);
  // Makes everything durable.
  Task close(Request& request);
  // What waits for space fails from now on.
  void note_end() { is_ending_ = true; }

  // --- Mappings. The caller holds the blocks of the volume.
  // Shared. Without a lock; nothing: ask load().
  std::optional<Place> find(const Volume& volume, uint64_t block) const {
    return mappings_.find(volume.view(), block);
  }
  Task load(Request& request, Volume& volume, uint64_t block, MappingCache::Group& group);
  // Exclusively, for the others. Data blocks for all of the placings, to be filled. ENOSPC.
  Task reserve(Request& request, std::span<Placing> placings);
  // Maps them, or gives them back.
  Task map(Request& request, Volume& volume, std::span<const Placing> placings);
  Task give_back(Request& request, std::span<const Placing> placings);
  // Unmaps the mapped blocks from `begin` on, some of them: `begin` becomes the first block that it
  // has not seen to, or `end`.
  Task unmap(Request& request, Volume& volume, uint64_t& begin, uint64_t end);
  // The first mapped block from `begin` on; `end` if there is none before. Nothing is held.
  Task find_mapped(Request& request, Volume& volume, uint64_t& begin, uint64_t end);
  // Waits until there may be more space than when space_made() was `made`. ENOSPC: the time for it
  // is over.
  uint64_t space_made() const { return live_.space_made(); }
  Task wait_for_space(Request& request, uint64_t made,
                      std::chrono::steady_clock::time_point deadline);

  // --- Volumes (volumes.cpp). Changes are durable when they return. `why` gets the reason of a
  // failure.
  Task create(Request& request, uint64_t id, std::string& why);
  Task snapshot(Request& request, uint64_t id, uint64_t origin, std::string& why);
  // EBUSY: it is served.
  Task remove(Request& request, uint64_t id, std::string& why);
  // Of the metadata, for tools: the pool as it is now. EEXIST; ENOENT.
  Task take_metadata_snapshot(Request& request, std::string& why);
  Task release_metadata_snapshot(Request& request, std::string& why);
  struct Entry {
    uint64_t id = 0;
    persistent::DeviceDetails details = {};
    bool is_served = false;
  };
  Task list(Request& request, std::vector<Entry>& entries, std::string& why);
  // Of all volumes. Any thread.
  std::vector<uint64_t> ids() const;
  // Which of the blocks from `first` on are not the same block in both volumes. ENODEV.
  Task compare(Request& request, uint64_t one, uint64_t other, uint64_t first,
               std::vector<bool>& differs);

  // For its job: commits, discards what has become free, and has the devices grow.
  Task tidy(Request& request);

  // --- Growth (growing.cpp). The devices follow what is behind them. Control path, any thread but
  // the control reactor's; some devices may have grown when it fails.
  Result<void> follow_devices();
  // Uses what the devices have more than before.
  Task grow(Request& request, std::string& why);

  LiveTransaction& transaction() { return live_; }
  const LiveTransaction& transaction() const { return live_; }
  uint64_t block_bytes() const { return block_bytes_; }
  Target& data() const { return data_; }
  const PoolOptions& options() const { return options_; }

 private:
  Task change(Request& request, Step step);
  Task make_room(Request& request);
  Task grow_by_itself(Request& request, bool is_full);
  bool extend(Target& device, uint64_t bytes);
  Task discard(Request& request, std::span<const uint64_t> blocks);
  Task note_snapshot_time(Request& request, Volume& volume, Error& error);
  Task take_snapshot(Request& request, uint64_t id, uint64_t origin, Volume* served,
                     std::string& why);
  Task remove_steps(Request& request, Step begin, persistent::ServedTransaction::Removal& removal,
                    std::string& why);
  Task change_durably(Request& request, Step step, std::string& why);
  Task commit_change(Request& request, std::string& why);
  Task note_ids(Request& request);
  Volume* served(uint64_t id) const;

  const PoolOptions options_;
  Target& metadata_;
  Target& data_;
  uint64_t block_bytes_ = 0;
  LiveTransaction live_;
  MappingCache mappings_;                // changed by the holder of the transaction
  std::map<uint64_t, Volume*> volumes_;  // likewise
  std::atomic<bool> is_ending_ = false;
  mutable std::mutex ids_mutex_;
  std::vector<uint64_t> ids_;  // guarded by ids_mutex_
  std::mutex growing_;         // of the devices
  AsyncMutex growing_by_itself_;
  bool cannot_grow_ = false;  // guarded by it: that it cannot was said
};

}  // namespace sluice::thin
