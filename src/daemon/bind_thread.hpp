// bind_thread(): binds a thread to processors.
#pragma once

#include <vector>

#include "core/error.hpp"

namespace sluice {

// EINVAL: a processor does not exist or is offline.
Result<void> bind_thread(int thread, const std::vector<int>& processors);

}  // namespace sluice
