// Ticks go forward as CLOCK_MONOTONIC does, and become nanoseconds.
#include "core/ticks.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace sluice {
namespace {

TEST(Ticks, AreNanosecondsOnceScaled) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const uint64_t first = ticks();
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const uint64_t last = ticks();
  const auto elapsed = std::chrono::nanoseconds(Clock::now() - begin).count();
  ASSERT_GT(last, first);
  const auto scaled = static_cast<double>(TickScale::process().nanoseconds(last - first));
  EXPECT_LE(scaled, static_cast<double>(elapsed) * 1.02);
  EXPECT_GE(scaled, 60e6 * 0.98);
}

TEST(Ticks, TheScaleSettles) {
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const double scale = TickScale::process().nanoseconds_per_tick();
  EXPECT_GT(scale, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(TickScale::process().nanoseconds_per_tick(), scale);
}

}  // namespace
}  // namespace sluice
