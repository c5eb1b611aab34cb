// --json, and --output=json|human as in qemu-img, of the commands that have both.
#pragma once

#include "cli/command_line.hpp"
#include "cli/failure.hpp"

namespace sluice::cli {

void declare_output(CommandLine& line);
Outcome<bool> wants_json(const CommandLine& line);

}  // namespace sluice::cli
