#include "target/qcow2/refcount_block.hpp"

#include <cassert>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

// Where a refcount of less than a byte lies.
struct BitPlace {
  size_t byte;
  uint32_t shift;
  uint32_t mask;  // after the shift
};

BitPlace bit_place(uint32_t order, uint64_t index) {
  const uint32_t bits = 1U << order;
  const uint64_t first_bit = index << order;
  return {.byte = static_cast<size_t>(first_bit / 8),
          .shift = static_cast<uint32_t>(first_bit % 8),
          .mask = (1U << bits) - 1};
}

size_t byte_place(uint32_t order, uint64_t index) {
  return static_cast<size_t>(index << (order - 3));
}

}  // namespace

uint64_t get_refcount(std::span<const std::byte> bytes, uint32_t order, uint64_t index) {
  assert(order <= 6 && index < (bytes.size() * 8) >> order);
  switch (order) {
    case 3:
      return load_big_endian<uint8_t>(bytes, byte_place(order, index));
    case 4:
      return load_big_endian<uint16_t>(bytes, byte_place(order, index));
    case 5:
      return load_big_endian<uint32_t>(bytes, byte_place(order, index));
    case 6:
      return load_big_endian<uint64_t>(bytes, byte_place(order, index));
    default:
      break;
  }
  const BitPlace place = bit_place(order, index);
  return (std::to_integer<uint32_t>(bytes[place.byte]) >> place.shift) & place.mask;
}

void set_refcount(std::span<std::byte> bytes, uint32_t order, uint64_t index, uint64_t value) {
  assert(order <= 6 && index < (bytes.size() * 8) >> order);
  assert(order == 6 || value >> (1U << order) == 0);
  switch (order) {
    case 3:
      return store_big_endian(bytes, byte_place(order, index), static_cast<uint8_t>(value));
    case 4:
      return store_big_endian(bytes, byte_place(order, index), static_cast<uint16_t>(value));
    case 5:
      return store_big_endian(bytes, byte_place(order, index), static_cast<uint32_t>(value));
    case 6:
      return store_big_endian(bytes, byte_place(order, index), value);
    default:
      break;
  }
  const BitPlace place = bit_place(order, index);
  const auto others = std::to_integer<uint32_t>(bytes[place.byte]) & ~(place.mask << place.shift);
  bytes[place.byte] =
      static_cast<std::byte>(others | (static_cast<uint32_t>(value) & place.mask) << place.shift);
}

}  // namespace sluice::qcow2
