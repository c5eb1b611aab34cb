// RingCounters: the activity of a ring since it was made. Written by its thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice {

struct RingCounters {
  uint64_t submitted = 0;  // SQEs
  uint64_t completed = 0;  // CQEs
  uint64_t enters = 0;     // io_uring_enter calls
  // Bytes copied through this process: by copy_in and copy_out, and for piped loans that cannot be
  // spliced. Other threads may read it.
  std::atomic<uint64_t> copied_bytes = 0;
};

}  // namespace sluice
