// Properties of an open file, from the kernel: size, blocks, alignment and segment limits (P-21),
// discard.
//
// Control path only; reads at most the file's first block, and changes nothing.
#pragma once

#include <cstdint>
#include <string>

#include "core/geometry.hpp"

namespace sluice {

// The alignment that direct I/O on a file requires; zeroes if direct I/O is not supported.
struct DirectAlignment {
  uint32_t memory_bytes = 0;  // of addresses and lengths in memory
  uint32_t offset_bytes = 0;  // of offset and length in the file
};

DirectAlignment direct_alignment(int descriptor);

// The geometry of a whole regular file or block device. `direct`: the alignment for O_DIRECT, or
// zeroes for I/O through the page cache. The size is not rounded to blocks; read_only is true for a
// device that is set read-only, whatever the open mode.
Geometry describe_file(int descriptor, const DirectAlignment& direct);

// True for a file on tmpfs.
bool is_in_memory(int descriptor);

// The reason why I/O on an open file may wait for memory, which is not safe if the file holds the
// machine's swap space; empty: it does not wait. `direct`: the file is opened with O_DIRECT.
std::string swap_risk_of(int descriptor, const std::string& path, bool direct);

}  // namespace sluice
