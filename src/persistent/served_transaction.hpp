// ServedTransaction: what a pool that is served needs of a transaction: data blocks are filled
// before they are mapped, and no operation is so large that all that it reads must be in memory.
//
// Its reader may refuse a block that is not at hand: the operation is undone then, and can be tried
// again.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "persistent/transaction.hpp"

namespace sluice::persistent {

class ServedTransaction final : public Transaction {
 public:
  // As Transaction::open().
  static Result<std::unique_ptr<ServedTransaction>> open(BlockReader& reader, Access access);

  // --- Lookups, also after a commit that has failed. ENODEV.
  // Calls `take` for each mapped block from `begin` to before `end`, in order, until it returns
  // false.
  using TakeMapping = std::function<bool(uint64_t block, Mapping mapping)>;
  Result<void> visit(uint64_t id, uint64_t begin, uint64_t end, const TakeMapping& take);
  // Likewise for each device.
  using TakeDevice = std::function<bool(uint64_t id, const DeviceDetails& details)>;
  Result<void> visit_devices(const TakeDevice& take);

  // --- Mappings.
  struct Placing {
    uint64_t block = 0;
    uint64_t data_block = 0;
  };
  // Data blocks for their owner, until give_back(); no commit knows of them. ENOSPC: none is
  // reserved.
  Result<void> reserve(std::span<Placing> placings);
  // Maps all of them. They stay reserved. ENODEV; ENOSPC: of metadata.
  Result<void> map(uint64_t id, std::span<const Placing> placings);
  void give_back(std::span<const Placing> placings);
  // Unmaps those of the blocks that are mapped; `freed` gets the data blocks that nothing else
  // uses, which are reserved from then on, until free_data().
  Result<void> unmap(uint64_t id, std::span<const uint64_t> blocks, std::vector<uint64_t>& freed);
  void free_data(uint64_t data_block) { data_.give_back(data_block); }
  // What is reserved in `before`, which is given up, is so here.
  void adopt_reserved(ServedTransaction& before) { data_.adopt_reserved(before.data_); }

  // --- The metadata snapshot: the pool as it was when it was taken, for tools that read it while
  // the pool is served. There is one at most. EEXIST. Begin it with nothing uncommitted.
  Result<void> take_metadata_snapshot();

  // --- A device, or the metadata snapshot, is removed in steps, between which nothing else is
  // done. An error of one of them leaves the transaction as it is in the middle of it: it must not
  // be committed.
  class Removal {
   public:
    bool is_done() const { return devices_.empty() && roots_.empty() && mappings_.empty(); }

   private:
    friend class ServedTransaction;
    // Nodes that have one reference too many: of the tree of devices, of the tree of their roots,
    // and of mappings.
    std::vector<uint64_t> devices_;
    std::vector<uint64_t> roots_;
    std::vector<uint64_t> mappings_;
  };
  // ENODEV; ENOENT: there is no metadata snapshot.
  Result<void> begin_removal(uint64_t id, Removal& removal);
  Result<void> begin_metadata_removal(Removal& removal);
  Result<void> continue_removal(Removal& removal);

 private:
  using Transaction::Transaction;

  Result<void> release_next(BTree& tree, std::vector<uint64_t>& nodes,
                            std::vector<uint64_t>* values = nullptr);
};

}  // namespace sluice::persistent
