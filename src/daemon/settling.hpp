// How the process of a server settles down before it serves.
#pragma once

#include <functional>
#include <memory>

#include "core/error.hpp"
#include "daemon/device.hpp"

namespace sluice {

// Runs `make` in a thread that ends afterwards.
Result<std::unique_ptr<Device>> make_aside(
    const std::function<Result<std::unique_ptr<Device>>()>& make);

// Steps before the process has threads, in this order: the keeper and clerk start in the caller's
// mount namespace, and the log's thread in that of the server. Of the options only those for the
// process count.
Result<void> settle_down(Device& device, const ServeOptions& options);

// If the device is to be served with another user's rights (--privilege-drop): from now on all
// threads have these only, and the clerk is in charge. After an error the process must not serve.
Result<void> settle_for_rights(Device& device);

}  // namespace sluice
