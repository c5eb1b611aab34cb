// What a server tells the service manager that started it, if one did (sd_notify(3)).
#pragma once

#include <string>

namespace sluice {

// Where the manager listens ($NOTIFY_SOCKET); empty: there is none.
std::string manager_socket();
// The manager of the server whose device we take over. Before the process has threads.
void use_manager_socket(const std::string& path);

// Sends `lines` ("READY=1\nSTATUS=...") to $NOTIFY_SOCKET. Without one, nothing happens; a manager
// that does not listen is logged and does not matter to the device.
void notify_manager(const std::string& lines);

}  // namespace sluice
