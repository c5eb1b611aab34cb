// The location of state files: /run/sluice for root; for other users their own directory in
// $XDG_RUNTIME_DIR, /run/user/UID or /tmp. $SLUICE_STATE_DIR overrides all.
//
// Only inspects these directories; safe on any thread.
#pragma once

#include <string>

#include "core/error.hpp"

namespace sluice {

inline constexpr const char* kSystemStateDirectory = "/run/sluice";

std::string state_directory();

// Checks that the directory can be trusted: its path is absolute and, if all users can create files
// beside it (/tmp), only this user can access it. Creates it in that case.
Result<void> check_state_directory();

}  // namespace sluice
