// Waits until a server has ended.
#pragma once

#include "core/error.hpp"
#include "daemon/state.hpp"

namespace sluice {

// For a server that was told to stop: waits ten seconds.
bool wait_for_server(const DeviceRecord& record);

// For a killed server: waits five seconds. EBUSY: it hangs in the kernel.
Result<void> wait_for_end(const DeviceRecord& record);

// Tells the server that has taken over a device, if it lives, to end as by SIGTERM.
void tell_to_end(const DeviceRecord& next);

}  // namespace sluice
