// Checks that a reopened stack can replace the former stack of a device.
#pragma once

#include "core/error.hpp"
#include "core/geometry.hpp"
#include "daemon/state.hpp"
#include "target/stack.hpp"

namespace sluice {

// ESTALE: a file or disk is not the recorded one, although it has its name.
Result<void> check_same_files(const Stack& stack, const DeviceRecord& record);

// EINVAL: the stack is smaller than the device, or has larger blocks.
Result<void> check_fits(const Geometry& stack, const DeviceRecord& record);

}  // namespace sluice
