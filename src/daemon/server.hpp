// The life of a device in its own process: open the stack, make the device, serve until it is gone.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.hpp"
#include "daemon/process.hpp"
#include "daemon/state.hpp"
#include "frontend/ublk/device.hpp"
#include "spec/spec.hpp"

namespace sluice {

struct ServeOptions {
  Spec spec;  // its paths are absolute
  bool read_only = false;
  ublk::DeviceOptions device;
  bool foreground = false;
  uint32_t debug_mask = 0;  // kDebugRequests | kDebugDevice
};

inline constexpr uint32_t kDebugRequests = 1U << 0;  // every request, as it enters the stack
inline constexpr uint32_t kDebugDevice = 1U << 1;    // steps in the life of the device

// Serves a new device until it is deleted or the process is told to end (SIGTERM, SIGINT: the
// device is stopped first). `ready` gets the device's id once it can be opened.
Result<void> serve_new_device(const ServeOptions& options, const Ready& ready);

// Takes over the device of a dead server. `record` is what that server left.
Result<void> serve_recovered_device(const DeviceRecord& record, const Ready& ready);

}  // namespace sluice
