// The cycle clock advances like CLOCK_MONOTONIC, and cycles are converted to nanoseconds.
#include "core/cycle_clock.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace sluice {
namespace {

TEST(CycleClock, AreNanosecondsOnceScaled) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const uint64_t first = cycles();
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const uint64_t last = cycles();
  const auto elapsed = std::chrono::nanoseconds(Clock::now() - begin).count();
  ASSERT_GT(last, first);
  const auto scaled = static_cast<double>(CycleScale::process().nanoseconds(last - first));
  EXPECT_LE(scaled, static_cast<double>(elapsed) * 1.02);
  EXPECT_GE(scaled, 60e6 * 0.98);
}

TEST(CycleClock, TheScaleSettles) {
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const double scale = CycleScale::process().nanoseconds_per_cycle();
  EXPECT_GT(scale, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(CycleScale::process().nanoseconds_per_cycle(), scale);
}

}  // namespace
}  // namespace sluice
