// Handover: what a server gives to the one that takes its device over, beside the device's record.
//
// A value of the control path. Only the front end that made it understands it.
#pragma once

#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

struct Handover {
  std::string state;                    // JSON; empty: the record says it all
  std::vector<Descriptor> descriptors;  // what the kernel serves the device through
};

// The same with descriptors of its own, for the server that may have to take the device back.
Result<Handover> duplicate(const Handover& handover);

}  // namespace sluice
