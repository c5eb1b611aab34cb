// How the process of a server settles down before it serves.
#pragma once

#include "core/error.hpp"
#include "daemon/device.hpp"

namespace sluice {

// Steps before the process has threads, in this order: the keeper starts in the caller's mount
// namespace, and the log's thread in that of the server. Of the options only those for the process
// count.
Result<void> settle_down(Device& device, const ServeOptions& options);

}  // namespace sluice
