// Which blocks of a thin device no other device maps: what its deletion frees.
//
// Blocks. Reads each node at most twice, and needs memory for what is mapped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "persistent/devices.hpp"

namespace sluice::persistent {

// For each of the devices, which are all that there are. EILSEQ: damaged; or the reader's error.
Result<std::vector<uint64_t>> count_exclusive(BlockReader& reader,
                                              std::span<const ThinDevice> devices);

}  // namespace sluice::persistent
