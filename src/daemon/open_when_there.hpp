// Opens the stack of a new device.
#pragma once

#include <memory>

#include "core/error.hpp"
#include "daemon/serve_options.hpp"
#include "target/stack.hpp"

namespace sluice {

// Tries again for ServeOptions::wait while a file or a server that the stack needs is not there,
// with pauses that grow to a second. The signals that tell the process to end are blocked (see
// SignalWatch), and end the wait. On failure nothing stays open. `to_the_byte`: for a front end
// that serves bytes.
Result<std::unique_ptr<Stack>> open_when_there(const ServeOptions& options, bool to_the_byte);

}  // namespace sluice
