// Records of legs for tests: a mirror of two legs, all fields set and fixed.
#pragma once

#include <string>
#include <vector>

#include "target/mirror/leg_record.hpp"

namespace sluice::mirror::test {

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kTiB = uint64_t{1} << 40;

inline Uuid uuid_of(unsigned number) {
  Uuid uuid;
  uuid.bytes.fill(std::byte{0xa0});
  uuid.bytes[15] = static_cast<std::byte>(number);
  return uuid;
}

inline LegRecord whole_record() {
  LegRecord record{
      .array = uuid_of(1),
      .leg = uuid_of(2),
      .name = "home",
      .data_bytes = 63 * kMiB,
      .block_bytes = 512,
      .region_bytes = 1 << 20,
      .leg_bytes = 64 * kMiB,
      .places = {.placement = Placement::start,
                 .data_offset = kMiB,
                 .intent_offset = 64 << 10,
                 .intent_bytes = kMiB - (64 << 10)},
      .history = History(Generation{.id = 0x1122334455667788, .seconds = 1'790'000'000}),
      .bitmap_since = 0x1122334455667788,
      .legs = {{.leg = uuid_of(2), .state = LegState::in_sync, .label = "a.img"},
               {.leg = uuid_of(3), .state = LegState::out, .label = "nbd://b/ü"}},
      .owner = {.token = uuid_of(9), .host = "alpha"},
      .clean = true};
  record.begin_generation({.id = 0x0102030405060708, .seconds = 1'790'000'060});
  return record;
}

inline std::vector<std::byte> encoded(const LegRecord& record) {
  std::vector<std::byte> payload(kRecordBytes);
  encode(record, payload);
  return payload;
}

}  // namespace sluice::mirror::test
