// Ticks: the clock of the data path. Reading it costs no system call, also where clock_gettime()
// is one: on x86-64 it is the processor's time stamp counter, elsewhere CLOCK_MONOTONIC.
//
// Ticks become nanoseconds only when somebody asks (TickScale), on any thread.
#pragma once

#include <cstdint>

#if !defined(__x86_64__)
#include <chrono>
#endif

namespace sluice {

inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// How long a tick takes, measured against CLOCK_MONOTONIC between the start of the process and the
// first use that is late enough for a good figure. From then on it does not change, so that what
// was once below a limit stays below it.
class TickScale {
 public:
  // The one of this process.
  static const TickScale& process();

  double nanoseconds_per_tick() const;
  uint64_t nanoseconds(uint64_t ticks) const {
    return static_cast<uint64_t>(static_cast<double>(ticks) * nanoseconds_per_tick());
  }

 private:
  struct Instant {
    uint64_t ticks;
    uint64_t nanoseconds;
  };

  TickScale() : start_(now()) {}
  static Instant now();

  const Instant start_;
};

}  // namespace sluice
