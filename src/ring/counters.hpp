// RingCounters: what a ring has done since it was made. Written by its thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice {

struct RingCounters {
  uint64_t submitted = 0;  // SQEs
  uint64_t completed = 0;  // CQEs
  uint64_t enters = 0;     // io_uring_enter calls
  // Moved through this process: by copy_in and copy_out, and where piped loans cannot be spliced.
  // May be read by other threads.
  std::atomic<uint64_t> copied_bytes = 0;
};

}  // namespace sluice
