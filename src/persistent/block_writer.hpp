// BlockWriter, Sealed: where the blocks of a commit go, and what they are.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "persistent/block.hpp"

namespace sluice::persistent {

// What a commit writes. The blocks are the transaction's, until it is settled.
struct Sealed {
  struct NewBlock {
    uint64_t number = 0;
    ConstBlock bytes;
  };
  std::vector<NewBlock> blocks;
  alignas(8) std::array<std::byte, kBlockBytes> superblock;
};

class BlockWriter {
 public:
  virtual ~BlockWriter() = default;

  // Makes all that was written to the data device before durable.
  virtual Result<void> flush_data() = 0;
  virtual Result<void> write(uint64_t number, ConstBlock block) = 0;
  // Makes all that was written durable.
  virtual Result<void> flush() = 0;
  // Writes it durably.
  virtual Result<void> write_superblock(ConstBlock block) = 0;
};

}  // namespace sluice::persistent
