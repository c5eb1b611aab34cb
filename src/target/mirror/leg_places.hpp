// LegPlaces: where metadata and data lie on a leg of a mirror.
//
// The layout is docs/formats/mirror.md. Pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/error.hpp"
#include "target/metadata/superblock_format.hpp"

namespace sluice::mirror {

// Where the metadata lies: before the data, or behind it.
enum class Placement : uint8_t { start, end };
std::string_view name_of(Placement placement);

inline constexpr uint32_t kSuperblockBytes = 16 << 10;   // of one of the two copies
inline constexpr uint64_t kSuperblocksBytes = 64 << 10;  // what is set aside for both
inline constexpr uint64_t kIntentRoomLeast = 64 << 10;   // what is set aside for the bitmap
inline constexpr uint64_t kDataOffsetUnit = 1 << 20;
inline constexpr uint32_t kBlockBytesMost = 4096;  // the largest logical block of a leg

// The superblock of a leg that is so large. Its places are 0 and 32 KiB, or at the end of the leg;
// there nothing but the size tells where, and a leg below kSuperblocksBytes has none.
SuperblockFormat superblock_format(Placement placement, uint64_t leg_bytes);

struct LegPlaces {
  Placement placement = Placement::start;
  uint64_t data_offset = 0;    // a multiple of kDataOffsetUnit; 0 at the end
  uint64_t intent_offset = 0;  // of the write-intent bitmap
  uint64_t intent_bytes = 0;   // what is set aside for it: whole blocks of the bitmap

  // How much data has room on a leg that is so large; 0: none.
  uint64_t data_room(uint64_t leg_bytes) const;

  bool operator==(const LegPlaces&) const = default;
};

struct PlacesWanted {
  Placement placement = Placement::start;
  uint64_t leg_bytes = 0;
  uint64_t data_bytes = 0;  // that the bitmap must suffice for
  uint32_t region_bytes = 0;
  uint64_t data_offset = 0;  // 0: the smallest
};
// EINVAL: the data offset is no multiple of its unit, too small for the bitmap, or given although
// the metadata lies at the end; or the bitmap would be larger than allowed. ENOSPC: the leg has no
// room for metadata and any data.
Result<LegPlaces> place_leg(const PlacesWanted& wanted);

// Why the places cannot be those of a leg that is so large, as the end of a sentence; empty: they
// can. Whether the data fits is not looked at.
std::string fault_of(const LegPlaces& places, uint64_t leg_bytes);

}  // namespace sluice::mirror
