// Numbers of formats that are little-endian on the disk.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace sluice {

template <std::unsigned_integral Number>
constexpr Number little_endian(Number number) {
  if constexpr (std::endian::native == std::endian::little || sizeof(Number) == 1) return number;
  return std::byteswap(number);
}

// The number at this place, which is in the bytes.
template <std::unsigned_integral Number>
Number load_little_endian(std::span<const std::byte> bytes, size_t place) {
  Number number;
  std::memcpy(&number, bytes.subspan(place, sizeof(number)).data(), sizeof(number));
  return little_endian(number);
}

template <std::unsigned_integral Number>
void store_little_endian(std::span<std::byte> bytes, size_t place, Number number) {
  number = little_endian(number);
  std::memcpy(bytes.subspan(place, sizeof(number)).data(), &number, sizeof(number));
}

}  // namespace sluice
