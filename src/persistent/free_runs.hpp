// The data blocks that nothing has mapped, as the data space map counts them. What a metadata
// snapshot has is counted too.
//
// Blocks. Whether the counts are right, check() tells.
#pragma once

#include <cstdint>
#include <functional>

#include "persistent/block_reader.hpp"
#include "persistent/superblock.hpp"

namespace sluice::persistent {

// Calls `take` for each run, in order; runs are as long as they can be. Ends with the first error,
// of the map or of `take`.
Result<void> for_each_free_run(
    BlockReader& reader, const SpaceMapRoot& data,
    const std::function<Result<void>(uint64_t first, uint64_t length)>& take);

}  // namespace sluice::persistent
