// LiveTransaction: the transaction of a pool that is served, as the coroutines of all reactors
// share it, and its commits.
//
// A step of the transaction that needs a block of the metadata which is not in the cache is made
// again when it is there. A commit makes durable: the data of new blocks, the blocks of the
// metadata, the superblock; data blocks that were freed are used again only then, and after their
// discard.
//
// Every function but flush(), flush_changes() and those that say so is for the holder of mutex().
// Damaged metadata, or a commit that fails, is the end of all changes: errors are EIO from then on,
// and all that is known can still be read.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/health.hpp"
#include "persistent/served_transaction.hpp"
#include "ring/async_mutex.hpp"
#include "target/target.hpp"
#include "target/thin/cached_reader.hpp"
#include "target/thin/pool_numbers.hpp"
#include "target/thin/pool_options.hpp"
#include "target/thin/step.hpp"

namespace sluice::thin {

class LiveTransaction {
 public:
  // All outlive it.
  LiveTransaction(const PoolOptions& options, Target& metadata, Target& data);

  // --- Life. Any error; nothing is open then. `only_looks`: nothing is written, not even at the
  // end.
  Task open(Request& request, bool only_looks, Error& error);
  Task close(Request& request);

  AsyncMutex& mutex() { return mutex_; }
  bool is_open() const { return transaction_ != nullptr; }
  persistent::ServedTransaction& operator*() { return *transaction_; }
  persistent::ServedTransaction* operator->() { return transaction_.get(); }

  Task read(Request& request, Step step, Error& error);
  // A step that changes something. EROFS.
  Task change(Request& request, Step step, Error& error);
  // What `freed` lists is reserved until it has been discarded, after the next commit.
  std::vector<uint64_t>& freed() { return freed_; }
  // True: there is something that a commit or a discard makes free.
  bool has_freed() const { return (!freed_.empty() && !is_read_only()) || !dropped_.empty(); }

  Task commit(Request& request);
  // Frees what waits for its discard without it.
  void free_dropped();
  // Some of what waits for its discard. They stay reserved until release().
  std::vector<uint64_t> take_dropped();
  void release(std::span<const uint64_t> blocks);
  // Blocks that were reserved, and are not mapped.
  void give_back(std::span<const persistent::ServedTransaction::Placing> placings);
  // As after the last commit, but for what is reserved.
  Task reload(Request& request, Error& error);

  // --- Any coroutine, without the mutex. All that was completed before is durable.
  Task flush(Request& request);
  Task flush_changes(Request& request);

  // --- Any thread.
  // True if all mappings are durable: a write to a mapped block is then durable by itself.
  bool is_committed() const { return !changed_.load(std::memory_order_acquire); }
  bool is_read_only() const { return read_only_.load(std::memory_order_relaxed); }
  // No changes any more. Returns EIO.
  Status stop_changes(std::string reason);
  // Until resume_with_metadata(): there is more space for it.
  Status stop_for_metadata();
  void resume_with_metadata();
  std::string reason() const;
  // How often there may have come to be more space.
  uint64_t space_made() const { return space_made_.load(); }
  // There will be more as soon as a discard has ended.
  bool is_discarding() const { return is_discarding_.load(); }
  // Says so to the operator, once until there is enough space.
  void note_full();
  PoolNumbers& numbers() { return numbers_; }
  Health health() const;

 private:
  Task load(Request& request, Error& error);
  Task mark_needs_check(Request& request);
  Task flush_data(Request& request);
  Task write_commit(Request& request);
  Task write_blocks(Request& request, std::span<const persistent::Sealed::NewBlock> blocks);
  enum class Until : uint8_t { opened_again, more_metadata };
  Status stop(Until until, std::string reason);
  void note_numbers();
  void tell(const std::string& text) const;

  const PoolOptions& options_;
  Target& metadata_;
  Target& data_;
  std::unique_ptr<MetadataCache> cache_;
  std::unique_ptr<CachedReader> reader_;

  AsyncMutex mutex_;  // guards what follows
  std::unique_ptr<persistent::ServedTransaction> transaction_;
  persistent::Sealed sealed_;
  bool is_damaged_ = false;
  bool only_looks_ = false;
  std::vector<uint64_t> freed_;    // data blocks, by this transaction
  std::vector<uint64_t> dropped_;  // by those before: to be discarded, then free
  Status last_commit_;

  std::atomic<bool> changed_ = false;  // since the last commit
  std::atomic<bool> read_only_ = false;
  std::atomic<bool> is_low_ = false;
  std::atomic<bool> was_full_ = false;  // since they were not low
  std::atomic<uint64_t> commits_begun_ = 0;
  std::atomic<uint64_t> space_made_ = 0;
  std::atomic<bool> is_discarding_ = false;
  PoolNumbers numbers_;
  mutable std::mutex reason_mutex_;  // guards what follows, and that read_only_ agrees with it
  std::string reason_;
  bool is_out_of_metadata_ = false;
};

}  // namespace sluice::thin
