// Listening sockets that another process has made and passed to this one (socket activation).
//
// System calls for the control path. Their socket files, if they have any, belong to that process.
#pragma once

#include "core/error.hpp"
#include "frontend/nbd/listen_address.hpp"

namespace sluice::nbd {

// The address where this descriptor listens, for listen_on(). EINVAL: it is no listening stream
// socket of a transport that clients can use.
Result<ListenAddress> address_of(int socket);

}  // namespace sluice::nbd
