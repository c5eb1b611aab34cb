// FaultCache: the volatile write cache of a disk: blocks that were written but not yet flushed.
//
// Owned by a Fault and used by the threads of all its queues, hence the mutex. It only stores
// blocks: the Fault does the I/O. Its content is lost by clear() and when the process ends.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "core/buffer.hpp"

namespace sluice {

class FaultCache {
 public:
  enum class Content : uint8_t { data, zeroes, unmapped_zeroes };

  // A copy of neighbouring blocks of the same kind.
  struct Run {
    uint64_t offset;
    uint64_t length;
    Content content;
    Buffer data;     // empty unless content is data
    uint64_t stamp;  // later stores are not included

    uint64_t end() const { return offset + length; }
  };

  explicit FaultCache(uint32_t block_bytes) : block_bytes_(block_bytes) {}

  // Offsets and lengths are in bytes and multiples of the block.
  void store(uint64_t offset, std::span<const std::byte> bytes);
  void store_zeroes(uint64_t offset, uint64_t length, bool may_unmap);

  // The first run in [begin, end), if any; at most kRunBytes of it.
  std::optional<Run> next_run(uint64_t begin, uint64_t end) const;
  // Called after the run was written back: drops its blocks, except those stored again since.
  void forget(const Run& run);
  void clear();

  uint64_t bytes() const;
  // The begin of the first block and the end of the last; {0, 0} if empty.
  std::pair<uint64_t, uint64_t> bounds() const;

 private:
  static constexpr uint64_t kRunBytes = 1 << 20;

  struct Block {
    Content content;
    uint64_t stamp;
    std::unique_ptr<std::byte[]> data;  // null unless content is data
  };

  const uint32_t block_bytes_;

  mutable std::mutex mutex_;
  std::map<uint64_t, Block> blocks_;  // by offset; guarded by mutex_
  uint64_t stamp_ = 0;                // of the newest store; guarded by mutex_
};

}  // namespace sluice
