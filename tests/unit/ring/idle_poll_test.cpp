// IdlePoll: grows with short waits, ends with long ones, and is not tried again and again in vain.
#include "ring/idle_poll.hpp"

#include <gtest/gtest.h>

#include <random>

namespace sluice::test {
namespace {

constexpr uint64_t kMax = 800;

IdlePoll poll_up_to(uint64_t max) {
  IdlePoll poll;
  poll.set_max(max);
  return poll;
}

// Waits, as of a client that comes back after `time`; returns the time spent on polls in vain.
uint64_t wait(IdlePoll& poll, uint64_t time, int times) {
  uint64_t in_vain = 0;
  for (int i = 0; i < times; ++i) {
    if (poll.budget() < time) in_vain += poll.budget();
    poll.note(time);
  }
  return in_vain;
}

TEST(IdlePoll, WithoutALimitItNeverPolls) {
  IdlePoll poll;
  EXPECT_FALSE(poll.is_on());
  wait(poll, 0, 10);
  wait(poll, 5, 10);
  EXPECT_EQ(poll.budget(), 0U);
}

TEST(IdlePoll, BeginsAfterShortWaitsAndCoversThem) {
  IdlePoll poll = poll_up_to(kMax);
  EXPECT_EQ(poll.budget(), 0U);
  wait(poll, kMax / 2 + 1, 10);
  EXPECT_GE(poll.budget(), kMax / 2 + 1);
  EXPECT_LE(poll.budget(), kMax);
  const uint64_t budget = poll.budget();
  wait(poll, 10, 1000);
  EXPECT_EQ(poll.budget(), budget) << "long enough: it has no reason to grow";
}

TEST(IdlePoll, EndsWithOneLongWait) {
  IdlePoll poll = poll_up_to(kMax);
  wait(poll, kMax, 10);
  ASSERT_EQ(poll.budget(), kMax);
  poll.note(kMax + 1);
  EXPECT_EQ(poll.budget(), 0U);
  EXPECT_EQ(wait(poll, 10 * kMax, 100000), 0U) << "an idle ring polls";
}

// A client that can only run while we sleep: each poll makes its wait too long.
TEST(IdlePoll, InVainItIsTriedMoreAndMoreSeldom) {
  IdlePoll poll = poll_up_to(kMax);
  int tries = 0;
  for (int i = 0; i < 100000; ++i) {
    const bool polls = poll.budget() != 0;
    if (polls) ++tries;
    poll.note(polls ? kMax + 10 : kMax / 2);
  }
  EXPECT_LT(tries, 40);
  EXPECT_GT(tries, 10);
}

TEST(IdlePoll, AfterEnoughSuccessItIsTriedAgainAtOnce) {
  IdlePoll poll = poll_up_to(kMax);
  for (int i = 0; i < 20; ++i) {
    wait(poll, kMax / 2, 10000);
    if (i < 10) poll.note(kMax + 1);
  }
  ASSERT_NE(poll.budget(), 0U);
  wait(poll, 1, static_cast<int>(IdlePoll::kProof));
  poll.note(kMax + 1);
  ASSERT_EQ(poll.budget(), 0U);
  wait(poll, 10, 3);
  EXPECT_NE(poll.budget(), 0U);
}

TEST(IdlePoll, StaysWithinItsLimit) {
  std::mt19937 random(3);
  for (const uint64_t max : {uint64_t{1}, uint64_t{7}, kMax, uint64_t{1} << 40}) {
    IdlePoll poll = poll_up_to(max);
    for (int i = 0; i < 10000; ++i) {
      poll.note(random() % (2 * max));
      ASSERT_LE(poll.budget(), max);
    }
  }
}

}  // namespace
}  // namespace sluice::test
