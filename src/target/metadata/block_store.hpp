// BlockStore: the slots of the metadata cache, found by block number, and their memory.
//
// All memory is allocated at creation and freed at destruction; slots are made when they are first
// needed, so that a large cache costs little before it is used. glimpse() takes no lock; all other
// functions are called with the cache's mutex held.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.hpp"
#include "target/metadata/cached_block.hpp"

namespace sluice {

class BlockStore {
 public:
  // `resident`: all is made and touched now, so that no block waits for a page later.
  BlockStore(uint32_t block_bytes, uint32_t blocks, bool resident = true);
  ~BlockStore();

  // The slot that has the block or is being filled with it; null: none.
  CachedBlock* find(uint64_t number) const;
  // The same without the mutex. It may miss a block that is present, or return a slot that has
  // another block by now: check the number again after pinning it.
  CachedBlock* glimpse(uint64_t number) const;

  // Takes a slot for another block: an empty one, or one that is clean and unused, chosen by the
  // clock algorithm. The slot is then `filling`, has its new number, and cannot be pinned. Null:
  // there is none now.
  CachedBlock* claim(uint64_t number, uint64_t version, uint64_t flush);
  // Makes a slot that could not be filled empty again.
  void give_up(CachedBlock& slot);
  // The same for one that has a block; false: it is not clean, or has a user.
  bool forget(CachedBlock& slot);

  // Those that have been made.
  std::span<CachedBlock> slots() { return {slot_at(0), made_}; }
  std::span<const CachedBlock> slots() const { return {slot_at(0), made_}; }
  uint64_t evictions() const { return evictions_; }

 private:
  CachedBlock* slot_at(size_t index) const;
  CachedBlock& make_slot();
  std::atomic<CachedBlock*>& bucket(uint64_t number) const;
  bool evict(CachedBlock& slot);
  void insert(CachedBlock& slot, uint64_t number);
  void remove(CachedBlock& slot);
  void add_empty(CachedBlock& slot);

  const size_t count_;
  const size_t block_bytes_;
  const Buffer memory_;      // of the blocks, two for each slot
  const Buffer slot_bytes_;  // of the slots
  size_t made_ = 0;
  const size_t bucket_count_;  // a power of two
  std::unique_ptr<std::atomic<CachedBlock*>[]> buckets_;
  CachedBlock* empty_ = nullptr;  // a list through `newer`
  size_t hand_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace sluice
