#include "frontend/ublk/parameters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/page.hpp"

namespace sluice::ublk {
namespace {

constexpr int kMaxShift = 28;  // 256 MiB: the driver's limit for block and I/O sizes
// The largest discard: a file system's discard of a whole device should not be split into
// thousands.
constexpr uint64_t kMaxDiscardBytes = 1ULL << 30;

uint8_t shift_of(uint32_t bytes, uint8_t fallback) {
  if (bytes == 0) return fallback;
  return static_cast<uint8_t>(std::min(static_cast<int>(std::bit_width(bytes)) - 1, kMaxShift));
}

uint32_t sectors_of(uint64_t bytes) { return static_cast<uint32_t>(bytes >> abi::kSectorShift); }

abi::BasicParameters basic(const Geometry& geometry, uint32_t max_io_bytes) {
  abi::BasicParameters basic{};
  if (geometry.read_only) basic.attributes |= abi::kAttrReadOnly;
  if (geometry.rotational) basic.attributes |= abi::kAttrRotational;
  if (geometry.volatile_cache) basic.attributes |= abi::kAttrVolatileCache | abi::kAttrFua;
  basic.logical_block_shift = shift_of(geometry.logical_block_bytes, abi::kSectorShift);
  basic.physical_block_shift = std::max(basic.logical_block_shift,
                                        shift_of(geometry.physical_block_bytes, abi::kSectorShift));
  basic.io_min_shift = shift_of(geometry.io_min_bytes, basic.physical_block_shift);
  // The driver supports only powers of two: other preferred sizes are not passed on.
  const bool has_optimum = std::has_single_bit(geometry.io_opt_bytes);
  basic.io_opt_shift =
      has_optimum ? shift_of(geometry.io_opt_bytes, 0) : basic.physical_block_shift;
  basic.max_sectors = sectors_of(max_io_bytes);
  if (geometry.max_io_bytes != 0) {
    basic.max_sectors = std::min(basic.max_sectors, sectors_of(geometry.max_io_bytes));
  }
  basic.max_sectors = std::max(basic.max_sectors, sectors_of(kPageBytes));
  basic.device_sectors = geometry.size_bytes >> abi::kSectorShift;
  return basic;
}

abi::DiscardParameters discard(const Geometry& geometry) {
  const uint64_t limit = geometry.max_discard_bytes == 0
                             ? kMaxDiscardBytes
                             : std::min(geometry.max_discard_bytes, kMaxDiscardBytes);
  abi::DiscardParameters discard{};
  discard.granularity = std::max(geometry.discard_granularity_bytes, geometry.logical_block_bytes);
  if (geometry.can_discard) {
    discard.max_discard_sectors = sectors_of(limit);
    discard.max_segments = 1;
  }
  if (geometry.can_write_zeroes) discard.max_write_zeroes_sectors = sectors_of(limit);
  return discard;
}

// The requirements of the backing on the client's memory.
void add_memory_limits(abi::Parameters& parameters, const Geometry& geometry) {
  // A backing with large blocks requires whole blocks in every segment.
  uint32_t alignment = std::max(geometry.memory_alignment_bytes, 4U);
  if (geometry.logical_block_bytes > 512) {
    alignment = std::max(alignment, geometry.logical_block_bytes);
  }
  parameters.types |= abi::kParamDmaAlign;
  parameters.dma.alignment_mask = std::min(std::bit_ceil(alignment), kPageBytes) - 1;

  if (geometry.max_segments == 0 && geometry.max_segment_bytes == 0) return;
  parameters.types |= abi::kParamSegment;
  parameters.segment.boundary_mask = UINT32_MAX;
  parameters.segment.max_segments = static_cast<uint16_t>(
      geometry.max_segments == 0 ? UINT16_MAX : std::min(geometry.max_segments, 0xffffU));
  parameters.segment.max_segment_bytes =
      geometry.max_segment_bytes == 0 ? UINT32_MAX
                                      : std::max(geometry.max_segment_bytes, abi::kMinSegmentBytes);
}

}  // namespace

Result<abi::Parameters> make_parameters(const Geometry& geometry, uint32_t max_io_bytes,
                                        bool zero_copy) {
  if (geometry.size_bytes < geometry.logical_block_bytes) {
    return fail(EINVAL, fmt::format("the stack holds {} bytes: a device needs at least one block "
                                    "of {}",
                                    geometry.size_bytes, geometry.logical_block_bytes));
  }
  if (geometry.logical_block_bytes > kPageBytes) {
    return fail(EINVAL, fmt::format("the stack has logical blocks of {} bytes: a ublk device takes "
                                    "at most {}",
                                    geometry.logical_block_bytes, kPageBytes));
  }
  abi::Parameters parameters{};
  parameters.length = sizeof(parameters);
  parameters.types = abi::kParamBasic;
  parameters.basic = basic(geometry, max_io_bytes);
  if (geometry.can_discard || geometry.can_write_zeroes) {
    parameters.types |= abi::kParamDiscard;
    parameters.discard = discard(geometry);
  }
  if (zero_copy) add_memory_limits(parameters, geometry);
  return parameters;
}

}  // namespace sluice::ublk
