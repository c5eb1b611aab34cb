// DataSpace: the reference counts of the data blocks in a transaction.
//
// As its space map says, which changes with each count. A mapping is a reference. Part of an
// operation (TransactionBlocks); the root is restored by who undoes it.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>
#include <utility>

#include "persistent/btree.hpp"
#include "persistent/space_map_format.hpp"
#include "persistent/superblock.hpp"

namespace sluice::persistent {

class DataSpace final : public ValueReferences {
 public:
  // Both outlive it. `last`: the root in the last transaction; nothing is used before the first.
  DataSpace(TransactionBlocks& blocks, BlockSpace& metadata, const SpaceMapRoot& last);

  // The space map of a data device without mappings.
  Result<void> create(uint64_t data_blocks);

  // There are so many data blocks from now on, at least as many as before.
  Result<void> grow(uint64_t data_blocks);

  // A block that is free in this transaction and in the last one; its count becomes 1. ENOSPC.
  Result<uint64_t> allocate();

  // --- For those that fill a block before a mapping leads to it. The choice is kept in memory
  // only: a commit does not know of it, nothing leaks. A block that is free as above, which is
  // chosen by nobody until take() or give_back(). ENOSPC.
  Result<uint64_t> reserve();
  // Its count becomes 1. It stays reserved until give_back(), for the operation may be undone.
  Result<void> take(uint64_t block) { return set(block, 0, 1); }
  void give_back(uint64_t block) {
    reserved_.erase(block);
    has_none_.erase(block / kBlocksOfBitmap);
  }
  // A block of which something outside is still to be done before it is used again.
  void hold(uint64_t block) { reserved_.insert(block); }
  void adopt_reserved(DataSpace& from) { reserved_ = std::move(from.reserved_); }
  uint64_t reserved() const { return reserved_.size(); }
  Result<uint64_t> count(uint64_t block);
  // By a mapping's value.
  Result<void> increase(std::span<const std::byte> value) override;
  Result<void> decrease(std::span<const std::byte> value) override;

  const SpaceMapRoot& root() const { return root_; }
  void set_root(const SpaceMapRoot& root) {
    if (root_ != root) has_none_.clear();
    root_ = root;
  }
  void begin_transaction();

 private:
  // The bits of a block, and where they are.
  struct Place {
    uint64_t index;  // of the bitmap
    uint32_t bit;
    IndexEntry entry;
  };

  Result<uint64_t> find_unused();
  Result<void> add_bitmaps(uint64_t first);
  Result<void> change(uint64_t block, int by);
  Result<void> set(uint64_t block, uint64_t before, uint64_t now);
  Result<Place> find(const SpaceMapRoot& root, uint64_t block);
  Result<uint64_t> count_at(const SpaceMapRoot& root, const Place& place, uint64_t block);
  Result<std::optional<uint64_t>> find_free_in(uint64_t index, uint32_t begin, bool trusting);
  Result<Block> shadow(IndexEntry& entry);

  TransactionBlocks& blocks_;
  BlockSpace& metadata_;
  BTree index_;
  BTree counts_;
  SpaceMapRoot root_;
  SpaceMapRoot last_;
  uint64_t cursor_ = 0;  // the search for a free block begins here
  std::unordered_set<uint64_t> reserved_;
  // Bitmaps in which the search has found nothing, so that it ends in a pool that is larger than
  // the memory of its reader; and those of which blocks will be free after the commit.
  std::unordered_set<uint64_t> has_none_;
  std::unordered_set<uint64_t> frees_;
};

}  // namespace sluice::persistent
