// Intents: the write-intent bitmap of a mirror that is served: what it says in memory, and what of
// it is durable on the legs.
//
// Used by the coroutines of all reactors. A block is composed, written and noted under its mutex;
// what to write it to is the caller's business.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/buffer.hpp"
#include "core/reserved_array.hpp"
#include "ring/async_mutex.hpp"
#include "target/mirror/regions.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::mirror {

class Intents {
 public:
  // `capacity`: blocks, up to which it may grow.
  Intents(const Uuid& array, const IntentLayout& layout, uint64_t capacity);

  // With no write in flight, on the control reactor: what is new is clean, and not written yet.
  void set_size(uint64_t data_bytes);
  uint64_t data_bytes() const { return layout_.data_bytes; }
  uint64_t most_regions() const { return capacity_ * kIntentRegions; }

  Regions& regions() { return regions_; }
  const Regions& regions() const { return regions_; }
  uint64_t blocks() const { return layout_.blocks(); }
  static uint64_t block_of(uint64_t region) { return region / kIntentRegions; }
  AsyncMutex& mutex_of(uint64_t block) { return blocks_[block].mutex; }

  // The next composition has the dirty bits of [first, last]. Any thread; but what was wanted
  // without the mutex may have been dropped by drop() since.
  void want(uint64_t first, uint64_t last);

  // --- Under the mutex of the block.
  bool are_durable(uint64_t first, uint64_t last) const;
  // Valid until the next composition of the block.
  std::span<std::byte> compose(uint64_t block);
  // What was composed last is durable on all legs.
  void note_written(uint64_t block);
  // See Regions::clear(); and no composition has it any more. True: the block has to be written.
  bool drop(uint64_t region);

 private:
  struct Block {
    AsyncMutex mutex;
    // And written, as far as is known.
    std::vector<uint64_t> composed = std::vector<uint64_t>(kIntentWords);
    Buffer bytes{kIntentBlockBytes};
  };

  std::span<const std::atomic<uint64_t>> wanted_in(uint64_t block) const {
    return {&wanted_[block * kIntentWords], kIntentWords};
  }

  const Uuid array_;
  const uint64_t capacity_;
  IntentLayout layout_;
  Regions regions_;
  const ReservedArray<std::atomic<uint64_t>> wanted_;
  std::deque<Block> blocks_;
};

}  // namespace sluice::mirror
