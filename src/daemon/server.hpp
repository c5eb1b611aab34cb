// The life of a device in a process of its own: open the stack, make the device, serve until it is
// gone.
#pragma once

#include "core/error.hpp"
#include "daemon/device.hpp"
#include "daemon/process.hpp"
#include "daemon/state.hpp"

namespace sluice {

// Serves a new device until it is deleted or the process is told to end (SIGTERM, SIGINT: the
// device is stopped first). `ready` gets the device's id once it can be opened.
Result<void> serve_new_device(const ServeOptions& options, const Ready& ready);

// Takes over the device of a dead server. `record` is what that server left.
Result<void> serve_recovered_device(const DeviceRecord& record, bool foreground,
                                    const Ready& ready);

// Takes over the device of a living server, which goes on with it if this one cannot. `record` is
// what that server says of it.
Result<void> serve_upgraded_device(const DeviceRecord& record, const Ready& ready);

}  // namespace sluice
