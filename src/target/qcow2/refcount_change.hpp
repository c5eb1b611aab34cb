// RefcountChange: changes of many refcounts, which take effect all at once when the header leads to
// a new refcount table.
//
// Nothing that the disk leads to is overwritten: the blocks with changes, and the table, are
// written to clusters that were allocated for them. Until then the changes are in memory.
//
// Of one coroutine, which holds mutex() from begin() on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.hpp"
#include "ring/async_mutex.hpp"
#include "target/qcow2/clusters.hpp"

namespace sluice::qcow2 {

class RefcountChange {
 public:
  explicit RefcountChange(Clusters& clusters) : clusters_(clusters) {}

  // Nobody else allocates or frees while it is held.
  AsyncMutex& mutex() { return clusters_.changing_; }
  void begin();

  // Whether the refcount of the cluster at `offset` is in memory, as all that follow need.
  bool has(uint64_t offset) const;
  // EUCLEAN: nothing counts this cluster.
  Task load(Request& request, uint64_t offset);
  uint64_t count(uint64_t offset) const;
  // EUCLEAN: it is 0; EOVERFLOW: it cannot be larger.
  Status raise(uint64_t offset);
  // EUCLEAN: it is 0.
  Status lower(uint64_t offset);

  uint64_t changed_blocks() const;
  // Writes the changed blocks to the clusters of `places`, which are enough, and the table to those
  // of `table`. Not durable.
  Task write(Request& request, std::span<const Allocation> places, const Allocation& table);
  uint64_t table_offset() const { return clusters_.table_offset_; }
  // The disk leads to what was written. `replaced`: gets the clusters of the former ones.
  void adopt(std::vector<uint64_t>& replaced);
  const std::vector<uint64_t>& table() const { return clusters_.table_; }

 private:
  struct Block {
    explicit Block(uint64_t bytes) : memory(bytes) {}
    Buffer memory;
    bool changed = false;
  };

  uint64_t cluster_of(uint64_t offset) const { return offset / clusters_.cluster_bytes_; }
  Block* block_of(uint64_t offset) const;
  void set(uint64_t offset, uint64_t count);
  Task write_part(Request& request, uint64_t offset, std::span<std::byte> bytes);

  Clusters& clusters_;
  std::vector<std::unique_ptr<Block>> blocks_;  // in the order of the table; null: not loaded
  uint64_t first_free_ = UINT64_MAX;            // the first cluster that has become free
  std::vector<uint64_t> new_table_;
  Allocation new_place_;
};

}  // namespace sluice::qcow2
