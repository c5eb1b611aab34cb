// WriteBack: writes dirty blocks of the metadata cache to the child, in order.
//
// One round runs at a time, in the coroutine that asks for it, on its own ring. A round takes the
// blocks that can be written, writes a copy of each, several at once, and flushes the child when no
// more can be written without a flush: one flush for each level of the orders.
//
// A block that cannot be written stays dirty and keeps back all blocks ordered after it. It is not
// tried again until it is published again or forgiven. A failed flush ends all writing.
#pragma once

#include <atomic>
#include <deque>

#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "ring/async_mutex.hpp"
#include "target/metadata/block_seal.hpp"
#include "target/metadata/cache_state.hpp"
#include "target/target.hpp"

namespace sluice {

class WriteBack {
 public:
  static constexpr uint32_t kWritesMax = 16;

  struct Options {
    uint32_t block_bytes = 0;
    uint32_t writes_in_flight = 0;  // at most kWritesMax
    Target* data = nullptr;         // null: the data is on the child
    const BlockSeal* seal = nullptr;
  };
  WriteBack(Target& child, CacheState& state, const Options& options);

  // Makes all blocks that are dirty now durable. Returns the first error; the other blocks are
  // still tried, unless an order keeps them back.
  Task flush(Request& request);
  // Makes this version, and all that must come before it, durable. Does not wait if it already is.
  Task make_durable(Request& request, BlockVersion version);
  Task make_data_durable(Request& request);
  Task make_child_durable(Request& request);
  // Writes some unused blocks, so that they can be evicted.
  Task make_room(Request& request);

  uint64_t writes() const { return writes_.load(std::memory_order_relaxed); }
  uint64_t flushes() const { return flushes_.load(std::memory_order_relaxed); }
  uint64_t data_flushes() const { return data_flushes_.load(std::memory_order_relaxed); }

 private:
  // A copy of a block on its way to the child.
  struct Desk {
    explicit Desk(std::span<std::byte> memory) : bytes(memory), loan(Direction::source, memory) {}

    const std::span<std::byte> bytes;
    PrivateLoan loan;
    CachedBlock* slot = nullptr;
    uint32_t buffer = 0;  // the one that is copied
    uint64_t version = 0;
  };

  Task flush_until(Request& request, uint64_t until);
  Task wait_durable(Request& request, BlockVersion version);
  Task write_wanted(Request& request);
  DirtyBlocks::Round take_batch();
  Task write_batch(Request& request, uint32_t count);
  void copy_to_desk(Desk& desk, Ring& here);
  void end_writing(Desk& desk, Status status, Ring& here);
  Task flush_child(Request& request);
  Task flush_data(Request& request);
  Task flush_target(Request& request, Target& target, DirtyBlocks::Flushes& flushes,
                    std::atomic<uint64_t>& counter);

  Target& child_;
  CacheState& state_;
  const Options options_;

  AsyncMutex round_;  // guards the desks, and DirtyBlocks' rounds and flushes
  const Buffer memory_;
  std::deque<Desk> desks_;

  std::atomic<uint64_t> writes_ = 0;
  std::atomic<uint64_t> flushes_ = 0;
  std::atomic<uint64_t> data_flushes_ = 0;
};

}  // namespace sluice
