// BlockReader: where the blocks of the metadata come from.
#pragma once

#include <cstdint>

#include "persistent/block.hpp"

namespace sluice::persistent {

class BlockReader {
 public:
  virtual ~BlockReader() = default;

  // Of the device, which may have more or fewer than its superblock states.
  virtual uint64_t blocks() const = 0;
  // Any `number`. EINVAL: beyond the device; or the device's error. Nothing is verified.
  virtual Result<void> read(uint64_t number, Block block) = 0;
};

}  // namespace sluice::persistent
