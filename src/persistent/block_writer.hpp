// BlockWriter: where the blocks of a commit go.
#pragma once

#include <cstdint>

#include "persistent/block.hpp"

namespace sluice::persistent {

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
