// BlockOracle: what may be read from each block of a device, now and after a power cut, given what
// was written, flushed and left open.
//
// Each write has a number, and its blocks are filled with a pattern of that number and of their
// place, so that a block that is found tells where it comes from. Number 0 is zeroes.
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

  // A write (or zeroes, or a discard) of `number` begins: from now on it may be found there.
  void begin(uint64_t number, uint64_t offset, uint64_t length);
  // It has succeeded: nothing older can be read. Not to be called for what failed, nor for
  // discards, after which the old content may still be there. Durable: nothing older is found after
  // a cut.
  void end(uint64_t offset, uint64_t length, bool durable);
  // A flush that was begun at `time` has succeeded.
  void flushed(uint64_t time);
  uint64_t time() const { return time_; }

  // What is wrong with bytes that were read; empty when nothing is.
  std::string check(uint64_t offset, std::span<const std::byte> bytes) const;
  // The same after a power cut. The blocks go on from what was found.
  std::string adopt(uint64_t offset, std::span<const std::byte> bytes);

 private:
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  struct Version {
    uint64_t number;
    uint64_t done_at;  // kNever: still running, failed, or a discard
  };
  // Oldest first. The first is what a power cut leaves at least.
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
