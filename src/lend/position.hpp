// Position: addresses a byte of a request's buffer (S2): queue, tag and offset.
//
// pack() is ublk's present encoding in one 64-bit offset: 25 bits of offset, 16 of tag, 12 of
// queue. The series of 2022 had 30 bits of offset, 12 of tag and the rest of queue: pack_2022(). A
// position that does not fit, such as a byte beyond the first 32 MiB, is packed as an invalid
// value; a value that is not ublk's (bit 62: integrity) is unpacked with an invalid queue. Using
// either is EINVAL.
#pragma once

#include <cstdint>

namespace sluice::lend {

struct Position {
  static constexpr uint32_t kOffsetBits = 25;
  static constexpr uint32_t kTagBits = 16;
  static constexpr uint32_t kQueueBits = 12;
  static constexpr uint32_t kOffsetBits2022 = 30;
  static constexpr uint32_t kTagBits2022 = 12;
  static constexpr uint32_t kQueueBits2022 = 16;  // of 22
  static constexpr uint16_t kNoQueue = UINT16_MAX;

  uint16_t queue = 0;
  uint16_t tag = 0;
  uint32_t offset = 0;  // bytes

  constexpr uint64_t pack() const { return pack(kNow); }
  constexpr uint64_t pack_2022() const { return pack(k2022); }
  static constexpr Position unpack(uint64_t packed) { return unpack(packed, kNow); }
  static constexpr Position unpack_2022(uint64_t packed) { return unpack(packed, k2022); }

  friend constexpr bool operator==(const Position&, const Position&) = default;

 private:
  struct Layout {
    uint32_t offset_bits, tag_bits, queue_bits;
  };
  static constexpr Layout kNow{kOffsetBits, kTagBits, kQueueBits};
  static constexpr Layout k2022{kOffsetBits2022, kTagBits2022, kQueueBits2022};

  constexpr uint64_t pack(Layout in) const {
    const bool fits = (uint64_t{offset} >> in.offset_bits) == 0 &&
                      (uint64_t{tag} >> in.tag_bits) == 0 &&
                      (uint64_t{queue} >> in.queue_bits) == 0;
    if (!fits) return UINT64_MAX;
    return (((uint64_t{queue} << in.tag_bits) | tag) << in.offset_bits) | offset;
  }
  static constexpr Position unpack(uint64_t packed, Layout in) {
    const auto low = [](uint64_t value, uint32_t bits) { return value & ((1ULL << bits) - 1); };
    const uint64_t queue = packed >> (in.offset_bits + in.tag_bits);
    return {.queue = (queue >> in.queue_bits) == 0 ? static_cast<uint16_t>(queue) : kNoQueue,
            .tag = static_cast<uint16_t>(low(packed >> in.offset_bits, in.tag_bits)),
            .offset = static_cast<uint32_t>(low(packed, in.offset_bits))};
  }
};

}  // namespace sluice::lend
