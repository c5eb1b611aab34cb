// Deadlines: one timer for all timeouts of a ring.
#include "ring/deadlines.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "ring/timeout.hpp"
#include "unit/ring/timeout_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;

class DeadlinesTest : public TimeoutTest {};

TEST_F(DeadlinesTest, TheTimerIsForTheEarliest) {
  const Timed late(ring_, hours(2), receiving());
  const Timed later(ring_, hours(3), receiving());
  ring_.settle();
  const size_t timer = find(IORING_OP_TIMEOUT);
  const nanoseconds set = from_now(time_of(ring_.sqe(timer), ring_.sqe(timer).addr));
  EXPECT_GT(set, hours(1));
  EXPECT_LE(set, hours(2));
  EXPECT_EQ(find(IORING_OP_TIMEOUT_REMOVE), npos);

  const Timed soon(ring_, hours(1), receiving());
  ring_.settle();
  const size_t update = find(IORING_OP_TIMEOUT_REMOVE);
  ASSERT_NE(update, npos);
  EXPECT_EQ(ring_.sqe(update).addr, ring_.sqe(timer).user_data);
  EXPECT_LE(from_now(time_of(ring_.sqe(update), ring_.sqe(update).addr2)), hours(1));
  ring_.complete(update, 0);

  go_off();
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_EQ(soon.error(), ETIMEDOUT);
  EXPECT_EQ(late.error(), -1);
  const size_t next = find(IORING_OP_TIMEOUT);
  EXPECT_GT(from_now(time_of(ring_.sqe(next), ring_.sqe(next).addr)), hours(1));
  while (find(IORING_OP_RECV) != npos) ring_.complete(find(IORING_OP_RECV), 4096);
}

TEST_F(DeadlinesTest, WhatEndsInTimeLeavesTheTimerAlone) {
  for (int i = 0; i < 100; ++i) {
    const Timed timed(ring_, hours(1), receiving());
    ring_.settle();
    ring_.complete(find(IORING_OP_RECV), 4096);
    EXPECT_EQ(timed.error(), 0);
  }
  EXPECT_EQ(ring_.counters().submitted, 101U);
  go_off();
  EXPECT_EQ(ring_.pending(), 0U) << "nobody needs another";
}

TEST_F(DeadlinesTest, ATimerThatGoesOffForNothingIsSetAnew) {
  auto soon = std::make_unique<Timed>(ring_, hours(1), receiving());
  const Timed late(ring_, hours(2), receiving());
  ring_.settle();
  ring_.complete(find(IORING_OP_RECV), 4096);
  EXPECT_EQ(soon->error(), 0);
  go_off();
  EXPECT_EQ(late.error(), -1);
  const size_t next = find(IORING_OP_TIMEOUT);
  ASSERT_NE(next, npos);
  EXPECT_GT(from_now(time_of(ring_.sqe(next), ring_.sqe(next).addr)), hours(1));
  ring_.complete(find(IORING_OP_RECV), 4096);
}

// The update reaches the kernel after the timer has expired, or completes before the timer does.
TEST_F(DeadlinesTest, AnUpdateMayMissTheTimer) {
  for (const bool update_first : {true, false}) {
    const Timed late(ring_, hours(2), receiving());
    ring_.settle();
    const Timed soon(ring_, hours(1), receiving());
    ring_.settle();
    if (update_first) ring_.complete(find(IORING_OP_TIMEOUT_REMOVE), -ENOENT);
    go_off();
    if (!update_first) ring_.complete(find(IORING_OP_TIMEOUT_REMOVE), -ENOENT);
    ring_.perform(find(IORING_OP_ASYNC_CANCEL));
    EXPECT_EQ(soon.error(), ETIMEDOUT);
    EXPECT_EQ(late.error(), -1) << "it has not expired";
    ASSERT_NE(find(IORING_OP_TIMEOUT), npos);
    EXPECT_EQ(find(IORING_OP_TIMEOUT_REMOVE), npos);
    go_off();
    ring_.perform(find(IORING_OP_ASYNC_CANCEL));
    EXPECT_EQ(late.error(), ETIMEDOUT);
  }
}

// An even earlier deadline is added while an update is in flight.
TEST_F(DeadlinesTest, AnUpdateIsFollowedByTheNext) {
  const Timed late(ring_, hours(3), receiving());
  ring_.settle();
  const Timed soon(ring_, hours(2), receiving());
  ring_.settle();
  const Timed sooner(ring_, hours(1), receiving());
  ring_.settle();
  ring_.complete(find(IORING_OP_TIMEOUT_REMOVE), 0);
  const size_t second = find(IORING_OP_TIMEOUT_REMOVE);
  ASSERT_NE(second, npos);
  EXPECT_LE(from_now(time_of(ring_.sqe(second), ring_.sqe(second).addr2)), hours(1));
  ring_.complete(second, 0);
  go_off();
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_EQ(sooner.error(), ETIMEDOUT);
  EXPECT_EQ(soon.error(), -1);
  while (find(IORING_OP_RECV) != npos) ring_.complete(find(IORING_OP_RECV), 4096);
}

// The timeout that caused the update has ended before the SQE is filled: the timer keeps its time.
TEST_F(DeadlinesTest, AnUpdateNeverDelaysTheTimer) {
  const Timed late(ring_, hours(2), receiving());
  ring_.settle();
  {
    const Timeout soon(ring_, hours(1));
  }
  ring_.settle();
  const size_t update = find(IORING_OP_TIMEOUT_REMOVE);
  ASSERT_NE(update, npos);
  ring_.complete(update, -EALREADY);
  go_off();
  EXPECT_EQ(late.error(), -1);
  ASSERT_NE(find(IORING_OP_TIMEOUT), npos);
  ring_.complete(find(IORING_OP_RECV), 4096);
}

TEST_F(DeadlinesTest, TheTimerDoesNotKeepTheRingFromEnding) {
  const Timed timed(ring_, hours(1), receiving());
  ring_.settle();
  ring_.complete(find(IORING_OP_RECV), 4096);
  ASSERT_NE(find(IORING_OP_TIMEOUT), npos);
  ring_.stop();
  ring_.run();
}

// A model of the kernel's timer. It may expire before an update arrives and complete after it;
// completions come in any order.
class TimerModel {
 public:
  explicit TimerModel(ManualRing& ring) : ring_(ring) {}

  // Takes over the SQEs submitted since the last call.
  void look() {
    ring_.settle();
    const auto [timer, update] = places();
    if (timer != SIZE_MAX && !set_) {
      set_ = true;
      gone_off_ = false;
      at_ = hours_of(ring_.sqe(timer).addr);
    }
    if (update != SIZE_MAX && !updated_) {
      updated_ = true;
      if (set_ && !gone_off_) at_ = hours_of(ring_.sqe(update).addr2);
    }
  }
  void go_off() { gone_off_ = gone_off_ || set_; }
  void answer_update() {
    const size_t update = places().second;
    if (update == SIZE_MAX) return;
    updated_ = false;
    ring_.complete(update, gone_off_ || !set_ ? -ENOENT : 0);
    look();
  }
  // Completes an expired timer; true if there was one.
  bool report() {
    if (!gone_off_) return false;
    gone_off_ = set_ = false;
    passed_ = std::max(passed_, at_);
    ring_.complete(places().first, -ETIME);
    look();
    return true;
  }

  bool set() const { return set_; }
  bool in_time_for(int64_t hour) const { return gone_off_ || updated_ || at_ <= hour; }
  int64_t passed() const { return passed_; }

 private:
  std::pair<size_t, size_t> places() const {
    std::pair<size_t, size_t> found{SIZE_MAX, SIZE_MAX};
    for (size_t i = 0; i < ring_.pending(); ++i) {
      if (ring_.sqe(i).opcode == IORING_OP_TIMEOUT) found.first = i;
      if (ring_.sqe(i).opcode == IORING_OP_TIMEOUT_REMOVE) found.second = i;
    }
    return found;
  }
  int64_t hours_of(uint64_t address) const {
    const auto* const time = reinterpret_cast<const __kernel_timespec*>(address);
    return std::chrono::floor<hours>(std::chrono::seconds(time->tv_sec) - begin_).count();
  }

  ManualRing& ring_;
  const std::chrono::seconds begin_ =
      std::chrono::floor<std::chrono::seconds>(Deadlines::Clock::now().time_since_epoch());
  bool set_ = false;
  bool gone_off_ = false;
  bool updated_ = false;
  int64_t at_ = 0;
  int64_t passed_ = 0;
};

TEST_F(DeadlinesTest, TheTimerIsNeverLateAndNothingExpiresEarly) {
  std::mt19937 random(4711);
  TimerModel timer(ring_);
  std::vector<std::pair<int64_t, std::unique_ptr<Timeout>>> all;
  for (int step = 0; step < 5000; ++step) {
    const uint32_t choice = random() % 8;
    if (choice < 3) {
      const int64_t hour = 1 + random() % 500;
      all.emplace_back(hour, std::make_unique<Timeout>(ring_, hours(hour)));
    } else if (choice < 5 && !all.empty()) {
      all.erase(all.begin() + static_cast<ptrdiff_t>(random() % all.size()));
    } else if (choice == 5) {
      timer.go_off();
    } else if (choice == 6) {
      timer.answer_update();
    } else {
      timer.report();
    }
    timer.look();
    for (const auto& [hour, timeout] : all) {
      if (timeout->expired()) {
        ASSERT_LE(hour, timer.passed()) << step;
      } else {
        ASSERT_TRUE(timer.set() && timer.in_time_for(hour)) << step;
      }
    }
  }
  all.clear();
  timer.answer_update();
  timer.go_off();
  while (timer.report()) timer.go_off();
  EXPECT_EQ(ring_.pending(), 0U);
}

}  // namespace
}  // namespace sluice::test
