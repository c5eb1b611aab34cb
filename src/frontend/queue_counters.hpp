// What a queue of a front end has done, as it counts (QueueCounters) and as it reports
// (QueueReport).
#pragma once

#include <atomic>
#include <cstdint>

#include "core/request.hpp"

namespace sluice {

// Written by the queue's thread, read by any.
struct QueueCounters {
  std::atomic<uint64_t> requests[kOpCount] = {};
  std::atomic<uint64_t> bytes[kOpCount] = {};
  std::atomic<uint64_t> errors = 0;
  std::atomic<uint64_t> copied_bytes = 0;  // for the front end; the ring counts those of targets
  std::atomic<uint64_t> arena_overflows = 0;

  // One writer: no locked instruction is needed.
  static void add(std::atomic<uint64_t>& counter, uint64_t amount) {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
};

// A queue that runs, and who runs it.
struct QueueReport {
  int thread_id = 0;
  uint64_t requests = 0;
  uint64_t errors = 0;
  uint64_t copied_bytes = 0;
  uint64_t arena_overflows = 0;
};

}  // namespace sluice
