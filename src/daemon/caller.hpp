// The state that a server inherits from the process that started it.
//
// Control path, before the process has threads.
#pragma once

#include <span>
#include <vector>

#include "spec/spec.hpp"

namespace sluice {

// Resets state that a server should not inherit: closes descriptors except the standard ones and
// `kept`, resets signal masks and dispositions, and the umask. Keeps what users set on purpose:
// limits, priorities, processors, control group, environment.
void leave_caller(std::span<const int> kept);

// Descriptors that the spec names as files, such as /dev/fd/3.
std::vector<int> named_descriptors(const Spec& spec);

}  // namespace sluice
