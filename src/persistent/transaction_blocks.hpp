// TransactionBlocks: the metadata as one transaction sees it: the blocks on the device, with those
// that it has made in their place, in memory until they are written.
//
// Changes are made in operations, each of which is kept or undone as a whole: whatever stops an
// operation in the middle, damage, a full device, or a block that has to be read first, leaves no
// trace of it. Used by one thread at a time. Never waits: the reader decides whether a block that
// is not at hand is an error.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "persistent/block_reader.hpp"

namespace sluice::persistent {

class TransactionBlocks {
 public:
  // The reader outlives it.
  explicit TransactionBlocks(BlockReader& reader) : reader_(reader) {}

  uint64_t device_blocks() const { return reader_.blocks(); }
  // Verified. It is valid until the operation ends; so are the others.
  Result<ConstBlock> read(uint64_t number, BlockKind kind);
  // Made by this transaction: it may be changed where it is.
  bool is_new(uint64_t number) const { return new_.contains(number); }
  // The caller has no use for what it has read any more.
  void forget(uint64_t number) { clean_.erase(number); }
  // A new block of zeroes, in a place that is free.
  Block make(uint64_t number, BlockKind kind);
  // One that is new.
  Block change(uint64_t number);

  void set_savepoint();
  void drop_savepoint();
  void roll_back();

  // The new blocks, sealed, in the order of their numbers. Ends with the first error.
  Result<void> for_each_new(
      const std::function<Result<void>(uint64_t number, ConstBlock block)>& take);
  // A new transaction begins: what was new is on the device.
  void begin_transaction();

 private:
  // Blocks of the device that are kept; more are dropped at the end of an operation.
  static constexpr size_t kCleanMost = 4096;

  struct Page {
    alignas(8) std::array<std::byte, kBlockBytes> bytes;
    BlockKind kind;
  };
  using Pages = std::unordered_map<uint64_t, std::unique_ptr<Page>>;

  void remember(uint64_t number);
  void end_operation();

  BlockReader& reader_;
  Pages new_;
  Pages clean_;
  Pages before_;  // of the new blocks that the operation has changed; null: it was not new
};

}  // namespace sluice::persistent
