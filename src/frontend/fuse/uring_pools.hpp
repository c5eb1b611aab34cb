// UringPools: prepares the kernel's queues for zero copy, before rings register entries: creates
// them, and supplies the memory for data that does not arrive as pages.
//
// Made by the control path, after INIT and before the reactors start; owns the memory and outlives
// them. The kernel manages the pool of a queue; UringQueue reads at the offsets that it gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/error.hpp"

namespace sluice::fuse {

class UringPools {
 public:
  struct Setup {
    int device = -1;  // /dev/fuse
    uint16_t queues = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
  };

  UringPools() = default;
  UringPools(const UringPools&) = delete;
  UringPools& operator=(const UringPools&) = delete;
  ~UringPools();

  // EPERM: the kernel lends pages only with CAP_SYS_ADMIN.
  Result<void> open(const Setup& setup);

  std::span<std::byte> of(uint16_t queue) const;

 private:
  Result<void> reserve(const Setup& setup);

  std::byte* memory_ = nullptr;  // of all queues, contiguous
  size_t bytes_ = 0;
  uint32_t bytes_each_ = 0;
};

}  // namespace sluice::fuse
