// BlockSeal: checks and completes the metadata blocks of a format, mostly their checksums, when
// they are read and written.
//
// Called by the threads of all queues, for several blocks at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

class BlockSeal {
 public:
  virtual ~BlockSeal() = default;

  // True if the bytes, just read, are a block of the format and belong at this number.
  virtual bool verify(uint64_t number, std::span<const std::byte> block) const = 0;
  // Completes a copy of the block that is about to be written. The one in the cache stays as it is.
  virtual void seal(uint64_t number, std::span<std::byte> block) const = 0;
};

}  // namespace sluice
