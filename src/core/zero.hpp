// Whether memory holds nothing but zeroes.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace sluice {

// True also for no bytes.
inline bool is_all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes.front() == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace sluice
