#include "core/geometry.hpp"

#include <algorithm>

namespace sluice {
namespace {

// The tighter of two limits, where 0 means none.
template <typename T>
T tighter(T one, T other) {
  if (one == 0 || other == 0) return std::max(one, other);
  return std::min(one, other);
}

}  // namespace

Geometry combine(const Geometry& one, const Geometry& other) {
  Geometry both;
  both.size_bytes = std::min<uint64_t>(one.size_bytes, other.size_bytes);
  both.logical_block_bytes = std::max(one.logical_block_bytes, other.logical_block_bytes);
  both.physical_block_bytes = std::max(one.physical_block_bytes, other.physical_block_bytes);
  both.io_min_bytes = std::max(one.io_min_bytes, other.io_min_bytes);
  both.io_opt_bytes = std::max(one.io_opt_bytes, other.io_opt_bytes);
  both.memory_alignment_bytes = std::max(one.memory_alignment_bytes, other.memory_alignment_bytes);
  both.max_segments = tighter(one.max_segments, other.max_segments);
  both.max_segment_bytes = tighter(one.max_segment_bytes, other.max_segment_bytes);
  both.max_io_bytes = 0;       // each child's submit() splits for its own limit
  both.max_discard_bytes = 0;  // likewise
  both.discard_granularity_bytes =
      std::max(one.discard_granularity_bytes, other.discard_granularity_bytes);
  both.can_discard = one.can_discard && other.can_discard;
  both.can_write_zeroes = true;  // each child's submit() emulates it if needed
  both.can_fua = true;           // likewise
  both.can_prefetch = one.can_prefetch || other.can_prefetch;
  both.volatile_cache = one.volatile_cache || other.volatile_cache;
  both.read_only = one.read_only || other.read_only;
  both.rotational = one.rotational || other.rotational;
  both.needs_bytes = one.needs_bytes || other.needs_bytes;
  both.needs_stable_pages = one.needs_stable_pages || other.needs_stable_pages;
  return both;
}

}  // namespace sluice
