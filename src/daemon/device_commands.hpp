// What the server of a device can be asked over its control socket:
//
//   stat {"buckets": true}    what it has done since it started, in total and by queue
//   inspect                   every request in flight, and where it is
//
// The commands use the device from the socket's thread: the socket goes before the device does.
#pragma once

#include "daemon/control_commands.hpp"
#include "daemon/device.hpp"

namespace sluice {

ControlCommands device_commands(Device& device);

}  // namespace sluice
