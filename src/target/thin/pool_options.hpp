// PoolOptions: how a thin pool is served. Values.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice::thin {

enum class Discards : uint8_t {
  ignore,  // mappings stay
  unmap,   // blocks become free, and the data device is not told
  pass,    // blocks that nothing else uses are discarded there as well
};

struct PoolOptions {
  std::string name = "thin";         // for messages
  bool writable = true;              // metadata and data
  uint64_t cache_bytes = 32 << 20;   // of metadata blocks
  uint64_t mapping_bytes = 8 << 20;  // of MappingCache
  Discards discards = Discards::pass;
  bool zeroes_blocks = true;  // what a write does not cover of a new block
  std::chrono::nanoseconds no_space_timeout = std::chrono::seconds(60);  // 0: writes fail at once
  uint32_t low_water_percent = 20;  // of free data or metadata blocks
  bool outlives_server = false;     // see OpenContext
  uint64_t autogrow_bytes = 0;      // of the data device, at the low water; 0: it does not grow
};

}  // namespace sluice::thin
