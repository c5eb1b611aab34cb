// RingAbilities: the abilities of the kernel under a ring. Detected when the ring is made.
#pragma once

#include "core/file.hpp"

namespace sluice {

struct RingAbilities {
  bool vectored_fixed = false;  // READV_FIXED, WRITEV_FIXED
  bool socket_fixed = false;    // fixed buffers on plain SEND and RECV
  bool block_discard = false;   // BLOCK_URING_CMD_DISCARD
  bool links = false;           // links that report only a failure, or the end
  File zero;                    // /dev/zero, to clear pages that have no address
};

}  // namespace sluice
