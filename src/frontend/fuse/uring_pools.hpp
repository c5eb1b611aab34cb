// UringPools: what the kernel must be told before a ring can register entries for zero copy: that
// each of its queues is one for that, and where the memory is for what does not come as pages.
//
// Made by the control path, after INIT and before the reactors start; owns the memory and outlives
// them. The kernel uses the pool of a queue as it likes; UringQueue looks where it is told to.
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

  // EPERM: the kernel lends pages to nobody without CAP_SYS_ADMIN.
  Result<void> open(const Setup& setup);

  std::span<std::byte> of(uint16_t queue) const;

 private:
  Result<void> reserve(const Setup& setup);

  std::byte* memory_ = nullptr;  // of all queues, one after the other
  size_t bytes_ = 0;
  uint32_t bytes_each_ = 0;
};

}  // namespace sluice::fuse
