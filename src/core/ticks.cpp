#include "core/ticks.hpp"

#include <time.h>

#include <atomic>

namespace sluice {
namespace {

// A microsecond of error at either end is then too little to be seen.
constexpr uint64_t kLongEnoughNanoseconds = 50'000'000;

std::atomic<double> settled = 0;  // nanoseconds per tick, once measured for long enough

[[maybe_unused]] const TickScale& begin_at_start = TickScale::process();

}  // namespace

const TickScale& TickScale::process() {
  static const TickScale scale;
  return scale;
}

double TickScale::nanoseconds_per_tick() const {
  const double known = settled.load(std::memory_order_relaxed);
  if (known != 0) return known;
  const Instant end = now();
  if (end.ticks <= start_.ticks || end.nanoseconds <= start_.nanoseconds) return 1;
  const uint64_t elapsed = end.nanoseconds - start_.nanoseconds;
  const double measured =
      static_cast<double>(elapsed) / static_cast<double>(end.ticks - start_.ticks);
  if (elapsed >= kLongEnoughNanoseconds) {
    double none = 0;
    if (!settled.compare_exchange_strong(none, measured)) return none;
  }
  return measured;
}

TickScale::Instant TickScale::now() {
  timespec time{};
  const uint64_t before = ticks();
  clock_gettime(CLOCK_MONOTONIC, &time);
  const uint64_t after = ticks();
  return {.ticks = before + (after - before) / 2,
          .nanoseconds = static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
                         static_cast<uint64_t>(time.tv_nsec)};
}

}  // namespace sluice
