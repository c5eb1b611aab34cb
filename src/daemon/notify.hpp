// Notifications to the service manager that started this server, if any (sd_notify(3)).
#pragma once

#include <string>

namespace sluice {

// The manager's socket: the one of use_manager_socket(), else $NOTIFY_SOCKET. Empty: none. These
// functions are for the control thread.
std::string manager_socket();
// Uses the manager of the server whose device is taken over.
void use_manager_socket(const std::string& path);

// Sends `lines` ("READY=1\nSTATUS=...") to that socket. Does nothing without one; if the manager
// does not listen, this is only logged.
void notify_manager(const std::string& lines);

}  // namespace sluice
