// The life of a device in its server process: open the stack, make the device, serve until it is
// deleted.
#pragma once

#include "core/error.hpp"
#include "daemon/device.hpp"
#include "daemon/process.hpp"
#include "daemon/state.hpp"

namespace sluice {

// Serves a new device until it is deleted or the process is told to end (SIGTERM, SIGINT: it stops
// the device first). `ready` gets the device's id once it can be opened.
Result<void> serve_new_device(const ServeOptions& options, const Ready& ready);

// Takes over the device of a dead server, from its `record`.
Result<void> serve_recovered_device(const DeviceRecord& record, bool foreground,
                                    const Ready& ready);

// Takes over the device of a living server, which continues if this fails. `record` is that
// server's description.
Result<void> serve_upgraded_device(const DeviceRecord& record, const Ready& ready);

}  // namespace sluice
