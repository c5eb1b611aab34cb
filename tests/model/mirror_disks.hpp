// What is on the legs of a mirror, as bytes, for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "target/mirror/leg_record.hpp"

namespace sluice::test {

struct MirrorShape {
  size_t legs = 2;
  uint64_t data_bytes = 2 << 20;
  uint32_t region_bytes = 64 << 10;
  mirror::Placement placement = mirror::Placement::start;
};

// The size of a leg less that of the data.
inline constexpr uint64_t kMirrorMetadataRoom = 1 << 20;

// A new array, all of whose legs are in sync and hold zeroes.
std::vector<std::vector<std::byte>> make_mirror_legs(const MirrorShape& shape);

// The record of a leg. Fails the test, and returns an empty one, if it has none.
mirror::LegRecord record_on_leg(const MirrorShape& shape, std::span<const std::byte> leg);

// Replaces both superblocks.
void put_record_on_leg(const MirrorShape& shape, std::span<std::byte> leg,
                       const mirror::LegRecord& record);

// The part that is data.
std::span<const std::byte> data_on_leg(const MirrorShape& shape, std::span<const std::byte> leg);

}  // namespace sluice::test
