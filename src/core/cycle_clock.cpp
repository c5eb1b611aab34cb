#include "core/cycle_clock.hpp"

#include <time.h>

#include <atomic>

namespace sluice {
namespace {

// After this time, an error of a microsecond at either end is negligible.
constexpr uint64_t kLongEnoughNanoseconds = 50'000'000;

std::atomic<double> settled = 0;  // nanoseconds per cycle, once measured for long enough

[[maybe_unused]] const CycleScale& begin_at_start = CycleScale::process();

}  // namespace

const CycleScale& CycleScale::process() {
  static const CycleScale scale;
  return scale;
}

double CycleScale::nanoseconds_per_cycle() const {
  const double known = settled.load(std::memory_order_relaxed);
  if (known != 0) return known;
  const Instant end = now();
  if (end.cycles <= start_.cycles || end.nanoseconds <= start_.nanoseconds) return 1;
  const uint64_t elapsed = end.nanoseconds - start_.nanoseconds;
  const double measured =
      static_cast<double>(elapsed) / static_cast<double>(end.cycles - start_.cycles);
  if (elapsed >= kLongEnoughNanoseconds) {
    double none = 0;
    if (!settled.compare_exchange_strong(none, measured)) return none;
  }
  return measured;
}

CycleScale::Instant CycleScale::now() {
  timespec time{};
  const uint64_t before = cycles();
  clock_gettime(CLOCK_MONOTONIC, &time);
  const uint64_t after = cycles();
  return {.cycles = before + (after - before) / 2,
          .nanoseconds = static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
                         static_cast<uint64_t>(time.tv_nsec)};
}

}  // namespace sluice
