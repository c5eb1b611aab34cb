// The cycle clock of the data path. On x86-64 it is the processor's time stamp counter, so reading
// it is never a system call, even if clock_gettime() is one; elsewhere it is CLOCK_MONOTONIC.
//
// Cycles are converted to nanoseconds (CycleScale) only when they are shown, on any thread.
#pragma once

#include <cstdint>

#if !defined(__x86_64__)
#include <chrono>
#endif

namespace sluice {

inline uint64_t cycles() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// The length of a cycle, measured against CLOCK_MONOTONIC between the start of the process and the
// first use that is late enough for good precision. It is constant from then on, so that a duration
// that was once below a limit stays below it.
class CycleScale {
 public:
  // The scale of this process.
  static const CycleScale& process();

  double nanoseconds_per_cycle() const;
  uint64_t nanoseconds(uint64_t cycles) const {
    return static_cast<uint64_t>(static_cast<double>(cycles) * nanoseconds_per_cycle());
  }

 private:
  struct Instant {
    uint64_t cycles;
    uint64_t nanoseconds;
  };

  CycleScale() : start_(now()) {}
  static Instant now();

  const Instant start_;
};

}  // namespace sluice
