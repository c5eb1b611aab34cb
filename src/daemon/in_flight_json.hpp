// Requests in flight as JSON: the reply to "inspect".
//
// Pure functions, safe on any thread.
#pragma once

#include <vector>

#include "reactor/in_flight.hpp"
#include "spec/json_value.hpp"
#include "target/target.hpp"

namespace sluice {

// The oldest first. Each has its path as "way": the names of the targets from the root, or for a
// child from below its parent's target, to the target that it is at.
JsonValue in_flight_json(std::vector<InFlight> requests, const Target& root);

}  // namespace sluice
