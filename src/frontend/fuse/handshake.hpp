// Handshake: INIT, the first request of every mount, in which kernel and server exchange features.
//
// Control path only: done before the reactors start.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "frontend/fuse/abi.hpp"
#include "frontend/fuse/data_path.hpp"

namespace sluice::fuse {

// The kernel's request.
struct KernelOffer {
  uint64_t unique = 0;  // of the request to answer
  uint32_t minor = 0;
  uint32_t max_readahead = 0;
  uint64_t flags = 0;
};

// The negotiated settings. A server that takes over the mount needs them.
struct Agreement {
  DataPath path = DataPath::copy;
  uint32_t max_io_bytes = 0;
  uint32_t stack_depth = 1;  // with passthrough: levels of stacked file systems, including ours
};

// Waits for INIT. ETIMEDOUT, or EPROTO for a kernel whose protocol is too old (before Linux 4.20).
Result<KernelOffer> receive_offer(int device);
// The reply; `requests` is the maximum in flight.
abi::InitOut make_answer(const KernelOffer& offer, const Agreement& agreement, uint32_t requests);
Result<void> send_answer(int device, const KernelOffer& offer, const abi::InitOut& answer);

}  // namespace sluice::fuse
