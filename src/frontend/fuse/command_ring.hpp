// CommandRing: issues commands of /dev/fuse from the control path, one at a time, on a small
// separate ring. Below are the uses before and after a connection is served.
#pragma once

#include <liburing.h>

#include "core/error.hpp"
#include "frontend/fuse/abi.hpp"

namespace sluice::fuse {

class CommandRing {
 public:
  CommandRing();
  CommandRing(const CommandRing&) = delete;
  CommandRing& operator=(const CommandRing&) = delete;
  ~CommandRing();

  // Returns 0 or a negative errno: from the kernel, or from submitting.
  int run(int device, uint32_t operation, const abi::UringCommand& command);

 private:
  io_uring ring_{};
  const int result_;
};

// Before INIT is answered: checks that commands reach the kernel's FUSE driver; a container, a
// security module or a sysctl may forbid them. Returns the resulting errno.
Result<void> try_uring_commands(int device);

// After INIT: makes the kernel deliver requests through /dev/fuse again, by an invalid entry, which
// it must refuse. False: it did not work.
bool turn_uring_off(int device);

}  // namespace sluice::fuse
