// Allocation, PackedStreams: space in an image that Clusters has given to a caller.
#pragma once

#include <cstdint>
#include <vector>

#include "target/metadata/metadata_cache.hpp"

namespace sluice::qcow2 {

// Consecutive host clusters with a refcount of one, which belong to the caller.
struct Allocation {
  uint64_t offset = 0;  // in the image
  uint64_t count = 0;
  BlockVersion counted{};  // must be durable before an entry that leads to them
};

// Streams of compressed clusters, one behind the other, which share host clusters.
struct PackedStreams {
  std::vector<uint32_t> lengths{};      // bytes, each less than a cluster
  std::vector<uint64_t> offsets{};      // of each, in the image
  std::vector<BlockVersion> counted{};  // must be durable before entries that lead to them
};

}  // namespace sluice::qcow2
