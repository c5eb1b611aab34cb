// What differs between the mappings of two thin devices, such as a snapshot and its origin.
//
// Blocks. Takes no memory for what is mapped.
#pragma once

#include <cstdint>
#include <functional>

#include "persistent/devices.hpp"

namespace sluice::persistent {

enum class Difference : uint8_t {
  same,     // both have the same data block
  changed,  // both have one, and others
  removed,  // only the first device has one
  added,    // only the second one
};

struct DeltaRun {
  Difference difference{};
  uint64_t device_block = 0;
  uint64_t length = 0;

  bool operator==(const DeltaRun&) const = default;
};

// Calls `take` for each run of blocks that are mapped by at least one of the two, in order; runs
// are as long as they can be. EILSEQ: damaged; or the reader's error.
Result<void> for_each_difference(BlockReader& reader, uint64_t from_root, uint64_t to_root,
                                 const std::function<void(const DeltaRun&)>& take);

}  // namespace sluice::persistent
