// Formats devices as a table: a line for each, no wider than a terminal.
//
// Looks up the names of users; safe on any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "daemon/listing.hpp"

namespace sluice::cli {

std::string device_table(std::span<const DeviceListing> devices);

// The owner of the server, if it is not this user's sluice.
std::string owner_of(const DeviceListing& device);

}  // namespace sluice::cli
