// Intents: the write-intent bitmap of a mirror that is served: what it says in memory, and what of
// it is durable on the legs.
//
// Used by the coroutines of all reactors. A block is composed, written and noted under its mutex;
// what to write it to is the caller's business.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.hpp"
#include "ring/async_mutex.hpp"
#include "target/mirror/regions.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::mirror {

class Intents {
 public:
  Intents(const Uuid& array, const IntentLayout& layout);

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
    std::vector<uint64_t> composed = {};  // and written, as far as is known
  };

  std::span<const std::atomic<uint64_t>> wanted_in(uint64_t block) const {
    return {&wanted_[block * kIntentWords], kIntentWords};
  }

  const Uuid array_;
  const IntentLayout layout_;
  Regions regions_;
  const std::unique_ptr<std::atomic<uint64_t>[]> wanted_;
  const std::unique_ptr<Block[]> blocks_;
  const Buffer bytes_;
};

}  // namespace sluice::mirror
