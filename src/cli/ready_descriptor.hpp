// The descriptor of `add --ready_fd`, which tells a program that the device can be opened.
#pragma once

#include <span>
#include <string>

#include "cli/failure.hpp"

namespace sluice::cli {

// It must be open for writing, and nothing else's: `taken` are the descriptors with another
// purpose.
Outcome<void> check_ready_descriptor(int descriptor, std::span<const int> taken);

// Writes the path and a newline, and closes the descriptor. A failure: nobody would learn of it.
Outcome<void> tell_ready(int descriptor, const std::string& path);

}  // namespace sluice::cli
