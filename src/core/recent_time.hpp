// The time for limits of seconds: CLOCK_MONOTONIC, up to a millisecond ago. On x86-64 the clock is
// read at most about once per millisecond, for where clock_gettime() is a system call.
//
// Any thread; each has a reading of its own.
#pragma once

#include <chrono>
#include <cstdint>

#include "core/cycle_clock.hpp"

namespace sluice {

inline std::chrono::steady_clock::time_point recent_time() {
  constexpr uint64_t kCycles = 1'000'000;  // not more than 1 ns each
  struct Reading {
    std::chrono::steady_clock::time_point time;
    uint64_t cycle;
  };
  static thread_local Reading last{};
  const uint64_t cycle = cycles();
  if (cycle - last.cycle > kCycles) {  // also if another processor's counter is behind
    last = {.time = std::chrono::steady_clock::now(), .cycle = cycle};
  }
  return last.time;
}

}  // namespace sluice
