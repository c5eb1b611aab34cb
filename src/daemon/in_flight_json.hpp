// Requests in flight as JSON: the reply to "inspect".
//
// Pure functions, safe on any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "frontend/in_flight.hpp"
#include "target/target.hpp"

namespace sluice {

// The oldest first. Each has its way: the names of the targets from the root to where it is, of a
// child from below where its parent is.
nlohmann::json in_flight_json(std::vector<InFlight> requests, const Target& root);

}  // namespace sluice
