// Finds zeroes in memory.
#pragma once

#include <cstddef>
#include <span>

namespace sluice::image {

bool is_zero(std::span<const std::byte> bytes);

struct ZeroRun {
  size_t length = 0;  // bytes, from the beginning
  bool zero = false;
};

// The longest run from the beginning of `bytes` in which all grains are alike: zero, or not. Grains
// have `grain_bytes`, not 0; the last one may be shorter. `bytes` is not empty.
ZeroRun first_zero_run(std::span<const std::byte> bytes, size_t grain_bytes);

}  // namespace sluice::image
