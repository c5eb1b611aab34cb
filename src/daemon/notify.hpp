// What a server tells the service manager that started it, if one did (sd_notify(3)).
#pragma once

#include <string>

namespace sluice {

// Sends `lines` ("READY=1\nSTATUS=...") to $NOTIFY_SOCKET. Without one, nothing happens; a manager
// that does not listen is logged and does not matter to the device.
void notify_manager(const std::string& lines);

}  // namespace sluice
