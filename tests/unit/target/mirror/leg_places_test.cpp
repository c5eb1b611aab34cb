// Where metadata and data lie on a leg.
#include "target/mirror/leg_places.hpp"

#include <gmock/gmock.h>

#include "target/mirror/write_intent_format.hpp"
#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// Needs a bitmap of 250 blocks.
constexpr uint64_t kNearlyFull = uint64_t{250} * kIntentRegions * kMiB;

PlacesWanted wanted(Placement placement, uint64_t leg_bytes, uint64_t data_offset = 0) {
  return {.placement = placement,
          .leg_bytes = leg_bytes,
          .data_bytes = leg_bytes,
          .region_bytes = default_region_bytes(leg_bytes),
          .data_offset = data_offset};
}

TEST(LegPlaces, TheSmallestDataOffsetThatFits) {
  const auto small = place_leg(wanted(Placement::start, 10 * kMiB));
  ASSERT_TRUE(small) << small.error().text;
  EXPECT_EQ(small->data_offset, kMiB);
  EXPECT_EQ(small->intent_offset, 64 << 10);
  EXPECT_EQ(small->intent_bytes, kMiB - (64 << 10));
  EXPECT_EQ(small->data_room(10 * kMiB), 9 * kMiB);
  EXPECT_EQ(place_leg(wanted(Placement::start, 7 * kTiB))->data_offset, kMiB);
  EXPECT_EQ(place_leg(wanted(Placement::start, kNearlyFull))->data_offset, 2 * kMiB);
}

TEST(LegPlaces, ALargerDataOffsetCanBeAsked) {
  const auto places = place_leg(wanted(Placement::start, 512 * kMiB, 256 * kMiB));
  ASSERT_TRUE(places);
  EXPECT_EQ(places->data_offset, 256 * kMiB);
  EXPECT_EQ(places->intent_bytes, kIntentBytesMost);
  EXPECT_THAT(place_leg(wanted(Placement::start, 10 * kMiB, kMiB + 4096)).error().text,
              HasSubstr("a data offset is a multiple of 1 MiB, and 1028k is none"));
  EXPECT_THAT(place_leg(wanted(Placement::start, kNearlyFull, kMiB)).error().text,
              HasSubstr("give 2M or more"));
  EXPECT_THAT(place_leg(wanted(Placement::end, 10 * kMiB, kMiB)).error().text,
              HasSubstr("the data begins at 0"));
}

TEST(LegPlaces, AtTheEndTheSizeTellsThePlaces) {
  const uint64_t size = 10 * kMiB + 4096 + 512;
  const auto places = place_leg(wanted(Placement::end, size));
  ASSERT_TRUE(places);
  const SuperblockFormat format = superblock_format(Placement::end, size);
  EXPECT_EQ(format.places[0], 10 * kMiB + 4096 - (64 << 10));
  EXPECT_EQ(format.places[1], format.places[0] + (32 << 10));
  EXPECT_EQ(places->intent_offset + places->intent_bytes, format.places[0]);
  EXPECT_EQ(places->intent_bytes, 64 << 10);
  EXPECT_EQ(places->data_room(size), places->intent_offset);
  EXPECT_THAT(fault_of(*places, size), IsEmpty());
  EXPECT_THAT(fault_of(*places, size + 4096), HasSubstr("has its bitmap"));
}

TEST(LegPlaces, ALegThatIsTooSmallIsRefused) {
  for (uint64_t size = 0; size < 2 * kMiB; size += 512) {
    for (const Placement placement : {Placement::start, Placement::end}) {
      const auto places = place_leg(wanted(placement, size));
      if (places) {
        EXPECT_GT(places->data_room(size), 0);
        EXPECT_THAT(fault_of(*places, size), IsEmpty());
      } else {
        EXPECT_EQ(places.error().error, ENOSPC);
        EXPECT_LT(size, kMiB + 4096);
      }
    }
  }
}

TEST(LegPlaces, ABitmapHasALimit) {
  PlacesWanted huge = wanted(Placement::start, 100 * kTiB);
  huge.region_bytes = 64 << 10;
  EXPECT_THAT(place_leg(huge).error().text, HasSubstr("give larger regions"));
}

// What place_leg() plans for the size of the whole leg is enough for the data that has room.
TEST(LegPlaces, TheBitmapSufficesForTheData) {
  for (uint64_t size = 2 * kMiB; size < 64 * kTiB; size = size * 3 / 2 + 4096) {
    for (const Placement placement : {Placement::start, Placement::end}) {
      const PlacesWanted plan = wanted(placement, size);
      const auto places = place_leg(plan);
      ASSERT_TRUE(places);
      const IntentLayout layout{places->data_room(size), plan.region_bytes};
      EXPECT_LE(layout.bytes(), places->intent_bytes);
      EXPECT_LE(layout.bytes(), kMiB);
      EXPECT_LT(places->data_offset, 3 * kMiB);
    }
  }
}

}  // namespace
}  // namespace sluice::mirror::test
