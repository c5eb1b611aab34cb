// BlockOracle: the valid contents of each block of a device, now and after a power cut, given the
// completed and pending writes and flushes.
//
// Each write has a number, and its blocks are filled with a pattern of that number and their place,
// so that the content of a block identifies its write. Number 0 is zeroes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace sluice::test {

class BlockOracle {
 public:
  static constexpr uint64_t kBlock = 512;

  explicit BlockOracle(uint64_t size_bytes);
  uint64_t size_bytes() const { return blocks_.size() * kBlock; }

  // A new number, and its pattern for a range.
  uint64_t new_number() { return ++newest_; }
  static void fill(uint64_t number, uint64_t offset, std::span<std::byte> bytes);

  // A write (or zeroes, or a discard) of `number` begins: from now on it may be seen by reads.
  void begin(uint64_t number, uint64_t offset, uint64_t length);
  // The write has succeeded: nothing older can be read. Not called for failed writes, nor for
  // discards, which may leave the old content. If durable, nothing older is read after a cut.
  void end(uint64_t offset, uint64_t length, bool durable);
  // A flush that was begun at `time` has succeeded.
  void flushed(uint64_t time);
  uint64_t time() const { return time_; }

  // The error in bytes that were read; empty if they are valid.
  std::string check(uint64_t offset, std::span<const std::byte> bytes) const;
  // The same after a power cut. Then the blocks found count as written.
  std::string adopt(uint64_t offset, std::span<const std::byte> bytes);

 private:
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  struct Version {
    uint64_t number;
    uint64_t done_at;  // kNever: still running, failed, or a discard
  };
  // Oldest first. The first is the oldest content that a power cut can leave.
  using History = std::vector<Version>;

  static bool matches(uint64_t number, uint64_t offset, std::span<const std::byte> block);
  static size_t newest_done_before(const History& history, uint64_t time);
  static std::string describe(const History& history, size_t first, uint64_t offset,
                              std::span<const std::byte> block);
  template <typename Visit>
  void for_each_block(uint64_t offset, uint64_t length, Visit visit);

  std::vector<History> blocks_;
  uint64_t newest_ = 0;
  uint64_t time_ = 1;
};

}  // namespace sluice::test
