// Decompression of compressed clusters.
#pragma once

#include <cstddef>
#include <span>

#include "core/error.hpp"
#include "core/status.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// Loads the library, which opens files: call it when an image is opened, and never on a reactor.
// ENOENT: libzstd is not installed.
Result<void> load_decompressor(Compression type);

// Fills `cluster`, all of it, from the stream at the front of `stream`, which may be followed by
// other bytes. `stream` is raw deflate, or one or more zstd frames, the last of which ends with the
// cluster. EIO: the stream is damaged, too short for a cluster, or (zstd) too long for it; ENOMEM.
// Never writes beyond `cluster` and takes a bounded time. Any thread; each keeps one context for
// each type, of 7 KiB for zlib and 96 KiB for zstd, until it ends.
Status decompress(Compression type, std::span<const std::byte> stream,
                  std::span<std::byte> cluster);

}  // namespace sluice::qcow2
