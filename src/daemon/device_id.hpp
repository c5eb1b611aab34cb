// Allocates the number of a new device. Devices of all front ends share one range of numbers, so
// that -n identifies a device.
//
// The caller holds the StateLock from this call until the device's record is written.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "daemon/state_lock.hpp"

namespace sluice {

// `wanted`, or for kAnyId the lowest free number from `first` on. EEXIST: `wanted` is taken.
Result<uint32_t> free_id(uint32_t wanted, uint32_t first);

}  // namespace sluice
