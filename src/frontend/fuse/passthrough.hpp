// Passthrough: checks and setup before the kernel uses the backing file itself.
//
// Control path only.
#pragma once

#include <cstdint>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "target/stack.hpp"

namespace sluice::fuse {

// Why the stack excludes passthrough, or empty.
std::string bars_passthrough(const Stack& stack);
// The same for the intended use. `loop_direct_io`: a loop device will use the file with direct I/O.
std::string bars_passthrough_for_use(const Stack& stack, bool loop_direct_io);

// The file of a stack that allows passthrough.
int backing_descriptor(const Stack& stack);

// Reopens the file without O_DIRECT: the kernel opens it again for each program, with that
// program's flags, but with no more access than this descriptor has.
Result<Descriptor> reopen_for_passthrough(const Stack& stack);

// Registers the file with the connection of `device`, after INIT. Returns the backing id for OPEN.
Result<int32_t> give_backing(int device, const Descriptor& backing);

// The smallest stacking depth with which the kernel accepts this stack's file: 1 or 2; less leaves
// more levels for file systems on top. Error: why the kernel refuses it: ELOOP, EPERM ... The reply
// to INIT cannot be withdrawn, so this is tested on a separate connection that is never mounted.
Result<uint32_t> passthrough_depth(const Stack& stack);

}  // namespace sluice::fuse
