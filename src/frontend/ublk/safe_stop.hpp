// Stopping a device that nobody uses. Control path only.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice::ublk {

// EBUSY, and nothing has happened, while it is mounted or open. Before Linux 7.0 the driver cannot
// say, and only who holds it exclusively is seen.
Result<void> stop_unless_busy(Control& control, uint32_t id);

}  // namespace sluice::ublk
