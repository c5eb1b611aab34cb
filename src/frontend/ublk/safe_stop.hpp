// Stops a device that is not in use. Control path only.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice::ublk {

// EBUSY, with the user and without effect, if it is mounted or open. Before Linux 7.0 the driver
// cannot tell, so users are searched: see core/holders.hpp.
Result<void> stop_unless_busy(Control& control, uint32_t id);

}  // namespace sluice::ublk
