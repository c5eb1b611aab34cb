// MetadataSpace: the reference counts of the metadata blocks in a transaction.
//
// The blocks of this space map are metadata blocks themselves. Therefore changes are kept in memory
// until the commit, which applies them, with those that it causes, until there are no more: each
// block of the map is shadowed once, so that this ends. What it needs for that is held back from
// others: a commit never fails for want of space.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "persistent/btree.hpp"
#include "persistent/space_map_format.hpp"

namespace sluice::persistent {

class MetadataSpace final : public BlockSpace {
 public:
  // `blocks` outlives it.
  explicit MetadataSpace(TransactionBlocks& blocks)
      : blocks_(blocks), counts_(blocks, *this, kReferenceCountBytes) {}

  // Reads the whole map, at most 255 bitmaps. The last transaction is the one with this root.
  Result<void> load(const SpaceMapRoot& root);
  // For new metadata: nothing but the superblock is in use, and load() is not called.
  Result<void> create(uint64_t blocks);

  // There are so many blocks from now on, at least as many as before and at most
  // kMetadataBlocksMost. It is not undone.
  void grow(uint64_t blocks);
  uint64_t blocks() const { return root_.blocks; }

  // Blocks that are free in both transactions.
  uint64_t free() const { return root_.blocks - root_.allocated - taken_; }
  // What a commit of this transaction may need at most.
  uint64_t held_back() const;

  Result<uint64_t> allocate() override;
  Result<uint64_t> count(uint64_t block) override;
  Result<void> increase(uint64_t block) override { return change(block, 1); }
  Result<void> decrease(uint64_t block) override { return change(block, -1); }

  // So many blocks are kept for operations that make room; at most a quarter of all.
  void keep_reserve(uint64_t blocks) { reserve_ = blocks; }
  // `frees`: the operation makes room, if not before the next commit.
  void set_savepoint(bool frees) {
    undo_.clear();
    operation_frees_ = frees;
  }
  void roll_back();

  // Applies the changes to new blocks of the map. Its root, for the superblock.
  Result<SpaceMapRoot> commit();
  // A new transaction begins: what was committed is durable.
  void begin_transaction(const SpaceMapRoot& root);

 private:
  struct Change {
    uint64_t before = 0;  // in the last transaction
    uint64_t now = 0;
  };

  Result<void> change(uint64_t block, int by);
  Result<uint64_t> count_before(uint64_t block);
  void set(uint64_t block, uint64_t before, uint64_t now);
  Result<Block> shadow_bitmap(uint32_t number);
  Result<void> apply(uint64_t block, Block bitmap);
  Result<void> write_index();
  SpaceMapRoot sums() const;

  TransactionBlocks& blocks_;
  BTree counts_;
  SpaceMapRoot root_;               // of the last transaction; `allocated` is exact
  std::vector<IndexEntry> before_;  // likewise
  std::vector<bool> used_before_;   // by block

  std::unordered_map<uint64_t, Change> changes_;
  uint64_t taken_ = 0;             // changed blocks that were free before
  uint64_t in_tree_before_ = 0;    // entries of the tree of counts in the last transaction
  uint64_t new_in_tree_ = 0;       // and those that the changes add
  std::optional<uint32_t> grown_;  // the bitmap that was the last, and has more blocks now
  uint64_t cursor_ = 0;            // the search for a free block begins here
  struct Undo {
    uint64_t block;
    uint64_t now;
  };
  std::vector<Undo> undo_;  // the counts before each change of the operation
  bool operation_frees_ = false;
  uint64_t reserve_ = 0;

  // Of a commit:
  bool is_committing_ = false;
  std::set<uint64_t> pending_;     // changed since they were applied
  std::vector<IndexEntry> index_;  // the new one
  std::vector<bool> shadowed_;     // by bitmap
  uint64_t index_block_ = 0;
  uint64_t counts_root_ = 0;
};

}  // namespace sluice::persistent
