// What the commands on devices share.
//
// Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cli.hpp"
#include "cli/failure.hpp"
#include "daemon/operations.hpp"

namespace sluice::cli {

Outcome<DeviceListing> look_at(uint32_t id);

// A device that has just come to life: its path, and what `list` says of it.
void print_new_device(const DeviceListing& device, bool json, const Streams& streams);

// What its server had to say, on the standard error.
void print_notes(const std::vector<std::string>& notes, const Streams& streams);

}  // namespace sluice::cli
