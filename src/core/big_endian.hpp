// Numbers of formats that are big-endian on the disk.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace sluice {

template <std::unsigned_integral Number>
constexpr Number big_endian(Number number) {
  if constexpr (std::endian::native == std::endian::big || sizeof(Number) == 1) return number;
  return std::byteswap(number);
}

// The number at this place, which is in the bytes.
template <std::unsigned_integral Number>
Number load_big_endian(std::span<const std::byte> bytes, size_t place) {
  Number number;
  std::memcpy(&number, bytes.subspan(place, sizeof(number)).data(), sizeof(number));
  return big_endian(number);
}

template <std::unsigned_integral Number>
void store_big_endian(std::span<std::byte> bytes, size_t place, Number number) {
  number = big_endian(number);
  std::memcpy(bytes.subspan(place, sizeof(number)).data(), &number, sizeof(number));
}

}  // namespace sluice
