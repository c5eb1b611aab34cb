// Keeps memory resident. A server of a swap device that takes a page fault while the kernel
// reclaims memory would wait for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.hpp"

namespace sluice {

// Faults in every page of the writable `memory` and locks it, until it is unmapped. If it cannot be
// locked (ENOMEM, EPERM: more than RLIMIT_MEMLOCK), it is still faulted in as far as possible.
Result<void> make_resident(std::span<std::byte> memory);

// The same for buffers that hold `data_bytes`, unless these exceed the reserve. Returns the reason
// why the buffers may not be resident when needed; empty: they are.
std::string keep_within(uint64_t reserve_bytes, std::span<std::byte> buffers, uint64_t data_bytes);

// Faults in the stack of the calling thread, for its later calls.
void touch_stack();

}  // namespace sluice
