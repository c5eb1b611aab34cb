// recent_time(): the monotonic clock, read rarely.
#include "core/recent_time.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::test {
namespace {

using Clock = std::chrono::steady_clock;

TEST(RecentTime, NeverGoesBackAndIsNeverOfTheFuture) {
  Clock::time_point last{};
  for (int i = 0; i < 100'000; ++i) {
    const Clock::time_point recent = recent_time();
    ASSERT_GE(recent, last);
    ASSERT_LE(recent, Clock::now());
    last = recent;
  }
}

TEST(RecentTime, IsReadAnewAfterAWhile) {
  recent_time();
  const Clock::time_point before = Clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_GT(recent_time(), before);
}

TEST(RecentTime, EachThreadHasItsOwn) {
  const Clock::time_point here = recent_time();
  Clock::time_point there{};
  std::thread([&there] { there = recent_time(); }).join();
  EXPECT_GE(there, here);
}

}  // namespace
}  // namespace sluice::test
