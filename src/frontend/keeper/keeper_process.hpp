// The code that runs in the keeper's process. See keeper.hpp.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/own_program.hpp"

namespace sluice {

// The first argument, by which main() detects a keeper. Not for users.
inline constexpr std::string_view kKeeperWord = "keep-a-device";
inline constexpr int kKeeperSocket = kHelperSocket;
inline constexpr size_t kKeeperMessageBytes = 64 * 1024;

// True if a program with these arguments, without its name, must call run_keeper().
bool is_for_keeper(std::span<const std::string> arguments);
// Returns the exit code after the end of the server. Its thread may still run: use _Exit().
int run_keeper();

}  // namespace sluice
