// Decompression of compressed clusters.
#pragma once

#include <cstddef>
#include <span>

#include "core/status.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// Fills `cluster`, all of it, from the stream at the front of `stream`, which may be followed by
// other bytes. EIO: the stream is damaged, or too short for a cluster. Never writes beyond
// `cluster` and takes a bounded time. `stream` of raw deflate (window 12 bits), or of one or more
// zstd frames.
Status decompress(Compression type, std::span<const std::byte> stream,
                  std::span<std::byte> cluster);

}  // namespace sluice::qcow2
