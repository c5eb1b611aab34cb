// Determines whether a device can hold swap space: only if its requests never wait until memory is
// freed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reactor/queue_counters.hpp"
#include "target/stack.hpp"

namespace sluice {

// The reasons why a request may wait for memory, one sentence each: from this process, the stack,
// the queues of its front end, and the device itself at `path`. Empty: none.
std::vector<std::string> swap_risks(const std::string& path, const Stack& stack,
                                    std::span<const QueueReport> queues);

}  // namespace sluice
