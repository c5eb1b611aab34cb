// The limit of descriptors, as the limit of clients at a time.
#pragma once

#include <cstddef>

namespace sluice::nbd {

// Lets this process open as many files as its hard limit allows. Best effort.
void raise_descriptor_limit();
// As many as this process can have sockets, beside all that it has open now; at least one.
size_t clients_max(size_t listeners, size_t queues);

}  // namespace sluice::nbd
