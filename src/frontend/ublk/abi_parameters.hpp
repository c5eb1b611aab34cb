// The ublk driver's user-space ABI, continued: the parameters of a device. See abi.hpp.
#pragma once

#include <cstdint>

namespace sluice::ublk::abi {

inline constexpr uint32_t kAttrReadOnly = 1U << 0;
inline constexpr uint32_t kAttrRotational = 1U << 1;
inline constexpr uint32_t kAttrVolatileCache = 1U << 2;
inline constexpr uint32_t kAttrFua = 1U << 3;

struct BasicParameters {
  uint32_t attributes;
  uint8_t logical_block_shift;
  uint8_t physical_block_shift;
  uint8_t io_opt_shift;
  uint8_t io_min_shift;
  uint32_t max_sectors;
  uint32_t chunk_sectors;
  uint64_t device_sectors;
  uint64_t virt_boundary_mask;
};

struct DiscardParameters {
  uint32_t alignment;
  uint32_t granularity;
  uint32_t max_discard_sectors;
  uint32_t max_write_zeroes_sectors;
  uint16_t max_segments;
  uint16_t reserved;
};

struct DevtParameters {
  uint32_t char_major;
  uint32_t char_minor;
  uint32_t disk_major;
  uint32_t disk_minor;
};

struct ZonedParameters {
  uint32_t max_open_zones;
  uint32_t max_active_zones;
  uint32_t max_zone_append_sectors;
  uint8_t reserved[20];
};

struct DmaAlignParameters {
  uint32_t alignment_mask;
  uint8_t padding[4];
};

struct SegmentParameters {
  uint64_t boundary_mask;
  uint32_t max_segment_bytes;
  uint16_t max_segments;
  uint8_t padding[2];
};

inline constexpr uint32_t kMinSegmentBytes = 4096;

inline constexpr uint32_t kParamBasic = 1U << 0;
inline constexpr uint32_t kParamDiscard = 1U << 1;
inline constexpr uint32_t kParamDmaAlign = 1U << 4;
inline constexpr uint32_t kParamSegment = 1U << 5;

// Ends before the integrity parameters of Linux 7.0, which are not used: `length` says so, and
// older drivers take the shorter form as well.
struct Parameters {
  uint32_t length;
  uint32_t types;
  BasicParameters basic;
  DiscardParameters discard;
  DevtParameters devt;
  ZonedParameters zoned;
  DmaAlignParameters dma;
  SegmentParameters segment;
};

}  // namespace sluice::ublk::abi
