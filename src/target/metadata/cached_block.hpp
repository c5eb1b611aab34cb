// CachedBlock: a slot of the metadata cache, and the block that is in it.
//
// Owned by the cache, which keeps the memory of slots and blocks until its end: a pointer to a slot
// is always valid, but only a pin keeps its block from changing.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.hpp"
#include "ring/parked.hpp"
#include "target/metadata/pin_word.hpp"

namespace sluice {

struct CachedBlock;

// One published version of a block's contents. A value. Versions are numbered across the whole
// cache, so their numbers show whether a slot has another block by now.
struct BlockVersion {
  CachedBlock* slot = nullptr;  // for the cache only
  uint64_t number = 0;
};

struct CachedBlock {
  static constexpr uint64_t kNone = UINT64_MAX;  // no block has this number
  static constexpr uint32_t kOrdersMax = 6;
  enum class State : uint8_t { empty, filling, present };

  // --- Any thread.
  PinWord pins;
  std::atomic<uint64_t> number = kNone;  // changes only while it cannot be pinned
  std::atomic<CachedBlock*> next = nullptr;
  std::atomic<bool> used = false;  // since the clock last passed
  std::atomic<uint64_t> hits = 0;

  // --- Constant.
  std::array<std::span<std::byte>, 2> buffers;

  // --- The rest is guarded by the cache's mutex.
  State state = State::empty;
  uint64_t filled_at = 0;        // version when this block came; older: another block's
  uint64_t filled_in_flush = 0;  // the former block was written before this flush of the child

  uint64_t published = 0;    // the newest version
  uint64_t dirty_since = 0;  // the oldest version that is not written; 0: none
  bool writing = false;
  uint64_t writing_since = 0;     // the oldest version that is being written
  uint64_t written = 0;           // the newest version that is on the child
  uint64_t written_in_flush = 0;  // and durable, once this flush of the child has succeeded
  Status failure;                 // of the newest version: it stays unwritten

  // The conditions that must be durable before any version is written.
  std::array<BlockVersion, kOrdersMax> after;
  uint32_t after_count = 0;
  uint64_t after_flush = 0;  // this flush of the child
  uint64_t after_data = 0;   // this flush of the data

  // Links in the list of dirty blocks, in the order in which they became dirty.
  CachedBlock* older = nullptr;
  CachedBlock* newer = nullptr;
  uint64_t goal = 0;     // the newest round of write-back that wants it
  uint64_t visited = 0;  // by the newest search for a cycle
  CachedBlock* next_to_visit = nullptr;

  Fifo<Parked> waiting_writers;
  Fifo<Parked> waiting_for_fill;
};

}  // namespace sluice
