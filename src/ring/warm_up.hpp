// Makes the kernel allocate, before there are requests, the objects that it allocates on demand for
// operations of a ring and then caches, so that no operation waits for memory later.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <string>

namespace sluice {

// The size of the kernel's caches for each ring: of operations on files, and of buffer table
// entries for lent pages, with the most pieces that a cached entry holds.
inline constexpr uint32_t kKeptOperations = 128;
inline constexpr uint32_t kKeptPieces = 32;

struct WarmUp {
  uint32_t operations = 0;  // in flight at a time; 0: no warm-up
  uint32_t slots = 0;       // in the buffer table, which is empty
  // The most worker threads of the kernel for operations that block, one of which is started now
  // and stays. 0: the kernel's default.
  uint32_t workers = 0;
};

// Why one of `tags` requests may still wait for memory; empty: none does.
std::string beyond_warm_up(uint32_t tags);

// Called by the ring's thread, while nothing is in flight. Best effort: the kernel allocates the
// rest later.
void warm_up(io_uring& ring, const WarmUp& amounts);

}  // namespace sluice
