// The options of `sluice bench lend`.
#pragma once

#include "cli/bench/contest.hpp"
#include "cli/command_line.hpp"

namespace sluice::cli::bench {

// What is to be measured. A command line that is wrong as it is written is a `usage` failure.
Outcome<Plan> read_plan(const CommandLine& line);

}  // namespace sluice::cli::bench
