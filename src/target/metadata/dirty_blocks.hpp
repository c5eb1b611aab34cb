// DirtyBlocks: the blocks of the metadata cache that are not on the disk, and the order in which
// they must get there.
//
// A block is written in its newest version. An order says: no version of one block is written
// before a given version of another block, or a newer one, is durable. Flushes are numbered: a
// block written now is durable when the next flush of the child to begin has succeeded.
//
// Orders never form a cycle, so some block can always be written. add_order() refuses an order that
// would close a cycle, does not fit, or would delay a block that a round of write-back already
// waits for. The caller then makes the other version durable at once instead.
//
// Does no I/O and never waits. Called by the cache with its mutex held.
#pragma once

#include <cstdint>
#include <span>

#include "target/metadata/cached_block.hpp"

namespace sluice {

class DirtyBlocks {
 public:
  // The work that can be done now for the wanted blocks.
  struct Round {
    uint32_t count = 0;        // blocks to write
    bool needs_flush = false;  // of the child, before more can be written
    bool needs_data = false;   // a flush of the data, likewise
    Status failure;            // of a block that cannot be written
  };

  // `separate_data`: the data has flushes of its own; otherwise the flushes of the child cover it.
  explicit DirtyBlocks(bool separate_data) : separate_data_(separate_data) {}

  // --- Versions.
  uint64_t next_version() { return ++version_; }
  uint64_t newest_version() const { return version_; }
  // Called when the slot's other buffer has been made current.
  BlockVersion publish(CachedBlock& slot);

  // --- Orders. False: make that version durable first; then no order is needed.
  bool add_order(CachedBlock& slot, BlockVersion before);
  // The same for all data written until now. False: flush the data first.
  bool add_data_order(CachedBlock& slot);
  // The same for all that was written to the child without the cache.
  bool add_child_order(CachedBlock& slot);

  // --- Write-back, one round at a time. A round wants the blocks that were dirty at version
  // `until`, the blocks passed to want(), and all blocks that must be durable before these.
  void begin(uint64_t until);
  void want(BlockVersion version);
  // Wants up to `most` unused blocks, oldest first; returns their number.
  uint32_t want_unused(uint32_t most);
  void end();
  // Takes wanted blocks that can be written now from the list. They are `writing` until written().
  Round take(std::span<CachedBlock*> batch);
  void written(CachedBlock& slot, uint64_t version, Status status);
  // The flush of the child after whose success the version is durable. 0: it is not written yet.
  uint64_t flush_for(BlockVersion version) const;
  uint64_t flush_for_all() const { return newest_write_; }

  // --- Flushes, one at a time. A failed flush ends all writing: the blocks that it should have
  // made durable may be gone from the cache and from the disk.
  struct Flushes {
    uint64_t next = 1;       // the number of the next one
    uint64_t succeeded = 0;  // of the newest
    uint64_t begin() { return next++; }
  };
  Flushes& flushes() { return flushes_; }
  Flushes& data_flushes() { return separate_data_ ? data_flushes_ : flushes_; }

  // --- Failures of single blocks.
  void forgive();  // failed blocks are tried again
  bool any_failed() const { return failed_ != 0; }
  // The unused dirty blocks: whether one can be cleaned, or why one cannot.
  struct Unused {
    bool can_clean = false;
    Status failure{};
  };
  Unused unused() const;
  bool any_in_flight() const { return in_flight_ != 0; }
  uint64_t count() const { return count_; }

 private:
  bool wants(const CachedBlock& slot) const {
    return slot.goal == goal_ || slot.dirty_since <= until_;
  }
  bool waited_for(const CachedBlock& slot) const {
    return active_ && slot.dirty_since != 0 && wants(slot);
  }
  bool settle(CachedBlock& slot);
  bool leads_to(CachedBlock& from, const CachedBlock& slot);
  bool judge(CachedBlock& slot, Round& round, bool& more_wanted);
  void append(CachedBlock& slot);
  void remove(CachedBlock& slot);
  void set_failure(CachedBlock& slot, Status status);

  const bool separate_data_;
  Flushes flushes_;
  Flushes data_flushes_;
  uint64_t version_ = 0;
  uint64_t newest_write_ = 0;  // durable after this flush

  CachedBlock* oldest_ = nullptr;
  CachedBlock* newest_ = nullptr;
  uint64_t count_ = 0;
  uint64_t failed_ = 0;
  uint64_t in_flight_ = 0;

  bool active_ = false;  // a round is under way
  uint64_t goal_ = 0;    // its number
  uint64_t until_ = 0;
  uint64_t search_ = 0;
};

}  // namespace sluice
