// What an open file offers and demands, asked from the kernel: size, blocks, alignment and segment
// limits (P-21), discard.
//
// Control path only; reads the file's first block at the most, and changes nothing.
#pragma once

#include <cstdint>

#include "core/geometry.hpp"

namespace sluice {

// What direct I/O demands of this file. Zeroes where it takes none.
struct DirectAlignment {
  uint32_t memory_bytes = 0;  // of addresses and lengths in memory
  uint32_t offset_bytes = 0;  // of offset and length in the file
};

DirectAlignment direct_alignment(int descriptor);

// Geometry of all of a regular file, or of a block device. `direct`: what O_DIRECT demands, or
// zeroes for I/O through the page cache. The size is as found, not rounded to blocks; read_only is
// true for a device that takes no writes, however it was opened.
Geometry describe_file(int descriptor, const DirectAlignment& direct);

// On tmpfs, where memory is all there is.
bool is_in_memory(int descriptor);

}  // namespace sluice
