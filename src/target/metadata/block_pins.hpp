// ReadPin, WritePin: hold a block of the metadata cache while a coroutine uses it.
//
//   ReadPin table;
//   Task taking = cache_.read(request, number, table);
//   const Status taken = co_await taking;
//
// They live in a coroutine frame and release the block when they are destroyed, or earlier by
// release() or abandon(). A coroutine that takes a block for writing while it holds a ReadPin of
// the same block deadlocks. All users take pins of several blocks in one order; otherwise they may
// deadlock.
#pragma once

#include <cassert>
#include <cstddef>
#include <span>
#include <utility>

#include "target/metadata/cached_block.hpp"

namespace sluice {

class MetadataCache;
class Ring;

// The common part of both pins.
class BlockPin {
 public:
  BlockPin(const BlockPin&) = delete;
  BlockPin& operator=(const BlockPin&) = delete;

  bool held() const { return slot_ != nullptr; }
  uint64_t number() const { return slot_->number.load(std::memory_order_relaxed); }

 protected:
  BlockPin() = default;
  ~BlockPin() = default;

  MetadataCache* cache_ = nullptr;
  Ring* ring_ = nullptr;
  CachedBlock* slot_ = nullptr;
  uint32_t buffer_ = 0;
};

class ReadPin final : public BlockPin {
 public:
  ~ReadPin() { release(); }

  // The version that was current when it was pinned. Never changes, whatever is published
  // meanwhile.
  std::span<const std::byte> bytes() const {
    assert(held());
    return slot_->buffers[buffer_];
  }
  void release();

 private:
  friend class MetadataCache;
};

class WritePin final : public BlockPin {
 public:
  // Drops a version that was not published: the block stays as it was.
  ~WritePin() { abandon(); }

  // The next version of the block, invisible to others until it is published.
  std::span<std::byte> bytes() const {
    assert(held());
    return slot_->buffers[buffer_];
  }
  // Makes the version visible to readers and to write-back. Declare its orders (MetadataCache)
  // before.
  BlockVersion publish();
  void abandon();

 private:
  friend class MetadataCache;

  bool fills_ = false;  // the block is absent until it is published
};

}  // namespace sluice
