#include "model/mirror_disks.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "target/mirror/write_intent_format.hpp"

namespace sluice::test {
namespace {

using namespace mirror;

LegPlaces places_of(const MirrorShape& shape) {
  return place_leg({.placement = shape.placement,
                    .leg_bytes = shape.data_bytes + kMirrorMetadataRoom,
                    .data_bytes = shape.data_bytes,
                    .region_bytes = shape.region_bytes})
      .value();
}

}  // namespace

std::vector<std::vector<std::byte>> make_mirror_legs(const MirrorShape& shape) {
  LegRecord record;
  record.array = Uuid::random();
  record.name = "test";
  record.data_bytes = shape.data_bytes;
  record.block_bytes = 512;
  record.region_bytes = shape.region_bytes;
  record.leg_bytes = shape.data_bytes + kMirrorMetadataRoom;
  record.places = places_of(shape);
  record.history = History(Generation::begin_now());
  record.bitmap_since = record.history.current().id;
  for (size_t i = 0; i < shape.legs; ++i) {
    record.legs.push_back({.leg = Uuid::random(), .label = fmt::format("leg{}", i)});
  }
  const IntentLayout layout{shape.data_bytes, shape.region_bytes};
  std::vector<std::vector<std::byte>> legs;
  for (const LegEntry& entry : record.legs) {
    std::vector<std::byte>& leg = legs.emplace_back(record.leg_bytes);
    record.leg = entry.leg;
    put_record_on_leg(shape, leg, record);
    const std::array<uint64_t, kIntentWords> none{};
    for (uint64_t block = 0; block < layout.blocks(); ++block) {
      const uint64_t place = record.places.intent_offset + block * kIntentBlockBytes;
      encode_intent_block(record.array, block, none,
                          std::span(leg).subspan(place, kIntentBlockBytes));
    }
  }
  return legs;
}

void put_record_on_leg(const MirrorShape& shape, std::span<std::byte> leg,
                       const LegRecord& record) {
  const SuperblockFormat format = superblock_format(shape.placement, leg.size());
  std::vector<std::byte> payload(kRecordBytes);
  encode(record, payload);
  for (uint64_t copy = 0; copy < 2; ++copy) {
    make_superblock_copy(format, format.version, copy + 1, payload,
                         leg.subspan(format.places[copy], format.copy_bytes));
  }
}

LegRecord record_on_leg(const MirrorShape& shape, std::span<const std::byte> leg) {
  const SuperblockFormat format = superblock_format(shape.placement, leg.size());
  std::array<SuperblockCopy, 2> copies;
  for (size_t copy = 0; copy < 2; ++copy) {
    copies[copy] =
        read_superblock_copy(format, leg.subspan(format.places[copy], format.copy_bytes));
  }
  const auto chosen = choose_superblock(format, copies);
  if (!chosen) {
    ADD_FAILURE() << chosen.error().text;
    return {};
  }
  auto record = parse(copies[*chosen].payload, leg.size());
  EXPECT_TRUE(record) << record.error().text;
  return record.value_or(LegRecord{});
}

std::span<const std::byte> data_on_leg(const MirrorShape& shape, std::span<const std::byte> leg) {
  return leg.subspan(places_of(shape).data_offset, shape.data_bytes);
}

}  // namespace sluice::test
