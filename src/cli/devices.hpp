// Helpers shared by the commands on devices.
//
// Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cli.hpp"
#include "cli/failure.hpp"
#include "daemon/listing.hpp"
#include "daemon/operations.hpp"

namespace sluice::cli {

Outcome<DeviceListing> look_at(uint32_t id);

// On the standard error output; an unprivileged user sees only their own devices.
void tell_there_is_none(const Streams& streams);

// The output for a new device.
enum class Shown : uint8_t { path, text, json };
// Prints the path; for text also the output of `list` for the device.
void print_new_device(const DeviceListing& device, Shown wanted, const Streams& streams);

// Prints its server's notes on the standard error output.
void print_notes(const std::vector<std::string>& notes, const Streams& streams);

}  // namespace sluice::cli
