// The code that runs in the clerk's process. See clerk.hpp.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "daemon/state.hpp"

namespace sluice {

// The first argument, by which main() detects a clerk. Not for users.
inline constexpr std::string_view kClerkWord = "write-for-a-device";

// True if a program with these arguments, without its name, must call run_clerk().
bool is_for_clerk(std::span<const std::string> arguments);
// Returns the exit code after the end of the server.
int run_clerk();

// `kept` with what a server may change of its record while it serves. `asked` may say anything.
DeviceRecord with_changes(const DeviceRecord& kept, const DeviceRecord& asked);

}  // namespace sluice
