#include "target/mirror/leg_places.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "spec/size.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::mirror {
namespace {

constexpr uint64_t kSecondCopyAt = 32 << 10;  // behind the first

uint64_t align_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

// Where the superblocks at the end begin. The leg has room for them.
uint64_t end_superblocks(uint64_t leg_bytes) {
  return leg_bytes / kBlockBytesMost * kBlockBytesMost - kSuperblocksBytes;
}

Result<LegPlaces> too_small(uint64_t leg_bytes, uint64_t needed) {
  return fail(ENOSPC, fmt::format("{} are too small for a leg of a mirror: its metadata takes {}; "
                                  "give it more",
                                  describe_size(leg_bytes), describe_size(needed)));
}

Result<LegPlaces> place_at_start(const PlacesWanted& wanted, uint64_t intent_bytes) {
  const uint64_t least = align_up(kSuperblocksBytes + intent_bytes, kDataOffsetUnit);
  const uint64_t offset = wanted.data_offset == 0 ? least : wanted.data_offset;
  if (offset % kDataOffsetUnit != 0) {
    return fail(EINVAL,
                fmt::format("a data offset is a multiple of 1 MiB, and {} is none: {}",
                            format_size(offset), advise_multiple(offset, kDataOffsetUnit, least)));
  }
  if (offset < least) {
    return fail(EINVAL, fmt::format("the metadata does not fit before a data offset of {}: give "
                                    "{} or more",
                                    format_size(offset), format_size(least)));
  }
  if (wanted.leg_bytes < offset + kBlockBytesMost) return too_small(wanted.leg_bytes, offset);
  return LegPlaces{.placement = Placement::start,
                   .data_offset = offset,
                   .intent_offset = kSuperblocksBytes,
                   .intent_bytes = std::min(offset - kSuperblocksBytes, kIntentBytesMost)};
}

Result<LegPlaces> place_at_end(const PlacesWanted& wanted, uint64_t intent_bytes) {
  if (wanted.data_offset != 0) {
    return fail(EINVAL,
                "a data offset is for metadata at the start: with metadata at the end the "
                "data begins at 0");
  }
  const uint64_t needed = kSuperblocksBytes + intent_bytes;
  if (wanted.leg_bytes < needed + 2 * kBlockBytesMost) return too_small(wanted.leg_bytes, needed);
  return LegPlaces{.placement = Placement::end,
                   .data_offset = 0,
                   .intent_offset = end_superblocks(wanted.leg_bytes) - intent_bytes,
                   .intent_bytes = intent_bytes};
}

}  // namespace

std::string_view name_of(Placement placement) {
  return placement == Placement::start ? "start" : "end";
}

SuperblockFormat superblock_format(Placement placement, uint64_t leg_bytes) {
  const bool at_end = placement == Placement::end && leg_bytes >= kSuperblocksBytes;
  const uint64_t first = at_end ? end_superblocks(leg_bytes) : 0;
  return {.name = "mirror leg",
          .magic = {'S', 'L', 'U', 'I', 'C', 'E', 'M', 'R'},
          .oldest_version = 1,
          .version = 1,
          .places = {first, first + kSecondCopyAt},
          .copy_bytes = kSuperblockBytes};
}

uint64_t LegPlaces::data_room(uint64_t leg_bytes) const {
  if (placement == Placement::end) return intent_offset;
  return leg_bytes > data_offset ? leg_bytes - data_offset : 0;
}

Result<LegPlaces> place_leg(const PlacesWanted& wanted) {
  const IntentLayout layout{wanted.data_bytes, wanted.region_bytes};
  if (layout.bytes() > kIntentBytesMost) {
    return fail(EINVAL,
                fmt::format("{} in regions of {} need a bitmap of {}, and it may have 64 "
                            "MiB: give larger regions",
                            describe_size(wanted.data_bytes), describe_size(wanted.region_bytes),
                            describe_size(layout.bytes())));
  }
  const uint64_t intent_bytes = std::max(layout.bytes(), kIntentRoomLeast);
  return wanted.placement == Placement::start ? place_at_start(wanted, intent_bytes)
                                              : place_at_end(wanted, intent_bytes);
}

std::string fault_of(const LegPlaces& places, uint64_t leg_bytes) {
  const bool at_end = places.placement == Placement::end;
  if (places.intent_bytes == 0 || places.intent_bytes > kIntentBytesMost ||
      places.intent_bytes % kIntentBlockBytes != 0) {
    return fmt::format("has {} bytes for its bitmap", places.intent_bytes);
  }
  if (at_end ? places.data_offset != 0
             : places.data_offset == 0 || places.data_offset % kDataOffsetUnit != 0) {
    return fmt::format("has its data at byte {}", places.data_offset);
  }
  if (at_end && leg_bytes < kSuperblocksBytes) {
    return fmt::format("does not lie at the end of {} bytes", leg_bytes);
  }
  // Where the bitmap may begin and must end: neither sum overflows, the bytes being at most 64 MiB.
  const uint64_t ends = at_end ? end_superblocks(leg_bytes) : places.data_offset;
  const bool fits = places.intent_bytes <= ends &&
                    (at_end ? places.intent_offset == ends - places.intent_bytes
                            : places.intent_offset == kSuperblocksBytes &&
                                  places.intent_offset <= ends - places.intent_bytes);
  if (fits) return {};
  return fmt::format("has its bitmap of {} bytes at byte {}, and {} at byte {}",
                     places.intent_bytes, places.intent_offset, at_end ? "superblocks" : "data",
                     ends);
}

}  // namespace sluice::mirror
