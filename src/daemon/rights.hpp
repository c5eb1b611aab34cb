// give_up_rights: this process becomes one without rights, for good.
//
// Control path, when all files and sockets are open.
#pragma once

#include "core/error.hpp"
#include "daemon/user.hpp"

namespace sluice {

// All threads of this process, and those that they start, get the user and its primary group, no
// other group and no capability, and only the system calls of call_filter.hpp. After an error some
// of the rights may be gone: end the process.
Result<void> give_up_rights(const User& user);

}  // namespace sluice
