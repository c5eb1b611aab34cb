// Handshake: INIT, the first request of every mount, in which kernel and server say what they can.
//
// Control path only: done before the reactors start.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "frontend/fuse/abi.hpp"
#include "frontend/fuse/data_path.hpp"

namespace sluice::fuse {

// What the kernel said.
struct KernelOffer {
  uint64_t unique = 0;  // of the request to be answered
  uint32_t minor = 0;
  uint32_t max_readahead = 0;
  uint64_t flags = 0;
};

// What was agreed on. A server that takes the mount over must know it.
struct Agreement {
  DataPath path = DataPath::copy;
  uint32_t max_io_bytes = 0;
};

// Waits for INIT. ETIMEDOUT, or EPROTO for a kernel whose protocol is too old (before Linux 4.20).
Result<KernelOffer> receive_offer(int device);
// What is answered: `requests` is how many we can have under way.
abi::InitOut make_answer(const KernelOffer& offer, const Agreement& agreement, uint32_t requests);
Result<void> send_answer(int device, const KernelOffer& offer, const abi::InitOut& answer);

}  // namespace sluice::fuse
