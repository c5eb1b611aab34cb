// The options of `sluice bench lend`.
#pragma once

#include "bench/contest.hpp"
#include "cli/command_line.hpp"

namespace sluice::cli {

// The measurements that the command line asks for. A malformed command line is a `usage` failure.
Outcome<bench::Plan> read_plan(const CommandLine& line);

}  // namespace sluice::cli
