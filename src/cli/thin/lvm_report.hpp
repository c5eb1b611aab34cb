// Reports of LVM's own commands, as JSON.
//
// Blocks, for 30 seconds at most.
#pragma once

#include <string>
#include <vector>

#include "cli/failure.hpp"
#include "spec/json_value.hpp"

namespace sluice::cli {

// Runs `lvs` or `pvs` with these arguments, and --reportformat json; its complaints go to the
// standard error.
Outcome<JsonValue> read_lvm_report(const std::string& program,
                                   const std::vector<std::string>& arguments);

}  // namespace sluice::cli
