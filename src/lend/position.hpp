// Position: the name of a place in a request's buffer (S2): which queue, which tag, which byte.
//
// pack() is how ublk writes it into one 64-bit offset today: 25 bits of offset, 16 of tag, 12 of
// queue. The series of 2022 had 30, 12 and the rest: pack_2022().
#pragma once

#include <cstdint>

namespace sluice::lend {

struct Position {
  static constexpr uint32_t kOffsetBits = 25;
  static constexpr uint32_t kTagBits = 16;
  static constexpr uint32_t kQueueBits = 12;
  static constexpr uint32_t kOffsetBits2022 = 30;
  static constexpr uint32_t kTagBits2022 = 12;

  uint16_t queue = 0;
  uint16_t tag = 0;
  uint32_t offset = 0;  // bytes

  constexpr uint64_t pack() const { return pack(kOffsetBits, kTagBits); }
  constexpr uint64_t pack_2022() const { return pack(kOffsetBits2022, kTagBits2022); }
  static constexpr Position unpack(uint64_t packed) {
    return unpack(packed, kOffsetBits, kTagBits);
  }
  static constexpr Position unpack_2022(uint64_t packed) {
    return unpack(packed, kOffsetBits2022, kTagBits2022);
  }

  friend constexpr bool operator==(const Position&, const Position&) = default;

 private:
  constexpr uint64_t pack(uint32_t offset_bits, uint32_t tag_bits) const {
    return (uint64_t{queue} << (offset_bits + tag_bits)) | (uint64_t{tag} << offset_bits) | offset;
  }
  static constexpr Position unpack(uint64_t packed, uint32_t offset_bits, uint32_t tag_bits) {
    const auto low = [](uint64_t value, uint32_t bits) { return value & ((1ULL << bits) - 1); };
    return {.queue = static_cast<uint16_t>(packed >> (offset_bits + tag_bits)),
            .tag = static_cast<uint16_t>(low(packed >> offset_bits, tag_bits)),
            .offset = static_cast<uint32_t>(low(packed, offset_bits))};
  }
};

}  // namespace sluice::lend
