// Waits until a server has ended.
#pragma once

#include "core/error.hpp"
#include "daemon/state.hpp"

namespace sluice {

// For a server that was told to stop: waits ten seconds.
bool wait_for_server(const DeviceRecord& record);

// For a killed server: waits five seconds. EBUSY: it hangs in the kernel.
Result<void> wait_for_end(const DeviceRecord& record);

}  // namespace sluice
