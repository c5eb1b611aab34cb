// Patterns of bytes that tests can tell apart.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace sluice::test {

using Bytes = std::vector<std::byte>;

// As in an SQE.
inline uint64_t address_of(const void* place) { return reinterpret_cast<uint64_t>(place); }

inline Bytes repeated(size_t count, uint8_t value) { return Bytes(count, std::byte{value}); }

// Equal for equal seeds; otherwise differs within every few bytes.
inline Bytes pattern(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = std::byte(random());
  return bytes;
}

inline Bytes part(std::span<const std::byte> bytes, size_t offset, size_t count) {
  const auto piece = bytes.subspan(offset, count);
  return {piece.begin(), piece.end()};
}

inline bool all_are(std::span<const std::byte> bytes, uint8_t value) {
  return std::ranges::all_of(bytes, [=](std::byte byte) { return byte == std::byte{value}; });
}

}  // namespace sluice::test
