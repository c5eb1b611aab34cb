// Superblock, Mapping, DeviceDetails: the root of the metadata of a thin pool, and the values in
// its trees.
//
// The layout is docs/formats/thin.md. Functions on memory, without state or I/O.
#pragma once

#include <array>
#include <cstdint>

#include "persistent/space_map_format.hpp"

namespace sluice::persistent {

inline constexpr uint64_t kSuperblockNumber = 0;
inline constexpr uint32_t kSectorBytes = 512;
inline constexpr uint32_t kDataBlockSectorsUnit = 128;          // 64 KiB
inline constexpr uint32_t kDataBlockSectorsMost = 1U << 21;     // 1 GiB
inline constexpr uint64_t kDataBlocksMost = uint64_t{1} << 40;  // what a mapping can express
inline constexpr uint32_t kTimeMost = (uint32_t{1} << 24) - 1;  // likewise
inline constexpr uint64_t kDeviceIdMost = (uint64_t{1} << 24) - 1;

struct Superblock {
  static constexpr uint32_t kNeedsCheck = 1;

  uint32_t flags = 0;
  std::array<std::byte, 16> uuid{};
  uint32_t version = 2;
  uint32_t time = 0;
  uint64_t transaction_id = 0;
  uint64_t metadata_snapshot = 0;  // a block; 0: none
  SpaceMapRoot data_space_map = {};
  SpaceMapRoot metadata_space_map = {};
  uint64_t mapping_root = 0;
  uint64_t device_root = 0;
  uint32_t data_block_sectors = kDataBlockSectorsUnit;
  uint64_t metadata_blocks = 0;
  uint32_t compatible = 0;            // features: may be unknown
  uint32_t read_only_compatible = 0;  // those without which a program may only read
  uint32_t incompatible = 0;          // and those without which it can do nothing

  bool needs_check() const { return (flags & kNeedsCheck) != 0; }
  uint64_t data_block_bytes() const { return uint64_t{data_block_sectors} * kSectorBytes; }
  bool operator==(const Superblock&) const = default;
};

// `number`: 0, or the block of a metadata snapshot. EINVAL: this is no superblock at all; EILSEQ:
// damaged; EOPNOTSUPP: a version or a feature that this program does not know, or blocks of another
// size; the roots are not followed.
Result<Superblock> read_superblock(ConstBlock block, uint64_t number = kSuperblockNumber);

// Fills the whole block, sealed.
void write_superblock(const Superblock& superblock, Block block,
                      uint64_t number = kSuperblockNumber);

// Where a block of a thin device is.
struct Mapping {
  static constexpr uint32_t kBytes = 8;

  uint64_t data_block = 0;  // less than kDataBlocksMost
  uint32_t time = 0;        // at most kTimeMost

  static Mapping from(uint64_t value) {
    return {.data_block = value >> 24, .time = static_cast<uint32_t>(value & kTimeMost)};
  }
  uint64_t value() const { return data_block << 24 | time; }
  bool operator==(const Mapping&) const = default;
};

struct DeviceDetails {
  static constexpr uint32_t kBytes = 24;

  uint64_t mapped_blocks = 0;
  uint64_t transaction_id = 0;  // at creation
  uint32_t creation_time = 0;
  uint32_t snapshotted_time = 0;

  bool operator==(const DeviceDetails&) const = default;
};

DeviceDetails load_device_details(std::span<const std::byte> bytes);  // kBytes
void store(const DeviceDetails& details, std::span<std::byte, DeviceDetails::kBytes> bytes);

}  // namespace sluice::persistent
