// Compression of clusters.
#pragma once

#include <cstddef>
#include <span>

#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// Compresses `cluster` into the front of `stream`, and returns the length of the result; 0: it does
// not fit, or there is no memory for it, so that the cluster is better stored as it is. zlib makes
// raw deflate with the window that QEMU reads, zstd one frame; load_decompressor() has been called.
// Any thread; each keeps one context for each type, of 260 KiB for zlib and about 1 MiB for zstd,
// until it ends.
size_t compress(Compression type, std::span<const std::byte> cluster, std::span<std::byte> stream);

}  // namespace sluice::qcow2
