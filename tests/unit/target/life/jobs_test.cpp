// Jobs of a stack: they begin after it has started, are reported, pause, and end when told to.
#include "target/life/jobs.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "support/living_target.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

class Counting final : public Job {
 public:
  explicit Counting(uint64_t steps, double share = 1) : Job("counting", share), steps_(steps) {}

  std::atomic<uint64_t> done = 0;
  std::chrono::nanoseconds step_time{0};
  int error = 0;
  bool ends_early = false;

 private:
  Task step(Request& request) override {
    auto sleep = request.ring->sleep(step_time);
    [[maybe_unused]] const Status slept = co_await sleep;
    if (ends_early && is_told_to_end()) co_return kOk;
    if (++done == steps_) finish();
    co_return Status::from_errno(error);
  }

  const uint64_t steps_;
};

struct JobRig {
  explicit JobRig(Job& job) {
    auto living = std::make_unique<LivingTarget>("it", diary, open_leaf("null:1M"));
    living->behaviour.job = &job;
    target = living.get();
    stack = std::make_unique<Stack>(std::move(living));
  }
  Jobs::Report report() const { return stack->life().jobs().reports().at(0); }
  void wait_for_end() const {
    while (report().running) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  Diary diary;
  LivingTarget* target = nullptr;
  std::unique_ptr<Stack> stack;
};

TEST(Jobs, RunToTheirEnd) {
  Counting job(5);
  JobRig rig(job);
  ASSERT_TRUE(rig.stack->start());
  rig.wait_for_end();
  EXPECT_EQ(job.done, 5U);
  EXPECT_EQ(rig.report().name, "counting");
  EXPECT_EQ(rig.report().steps, 5U);
  EXPECT_TRUE(rig.report().status.ok());
  rig.stack->stop();
  EXPECT_TRUE(rig.stack->life().jobs().reports().empty());
}

TEST(Jobs, EndWithTheirStackAndBeginAgain) {
  Counting job(UINT64_MAX);
  JobRig rig(job);
  for (int times = 0; times < 2; ++times) {
    const uint64_t before = job.done;
    ASSERT_TRUE(rig.stack->start());
    while (job.done < before + 3) std::this_thread::yield();
    rig.stack->stop();
    const uint64_t after = job.done;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(job.done, after) << "no step comes after stop()";
  }
}

TEST(Jobs, AnErrorEndsOne) {
  Counting job(UINT64_MAX);
  job.error = ENOSPC;
  JobRig rig(job);
  ASSERT_TRUE(rig.stack->start());
  rig.wait_for_end();
  EXPECT_EQ(job.done, 1U);
  EXPECT_EQ(rig.report().status.error(), ENOSPC);
}

// The pause after a step of 20 ms would be 20 seconds.
TEST(Jobs, APauseEndsWhenTheJobIsToldToEnd) {
  Counting job(UINT64_MAX, 0.001);
  job.step_time = std::chrono::milliseconds(20);
  JobRig rig(job);
  ASSERT_TRUE(rig.stack->start());
  while (job.done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto begun = std::chrono::steady_clock::now();
  rig.stack->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  EXPECT_EQ(job.done, 1U);
}

TEST(Jobs, DoNotBeginWhereTheStackIsNotStarted) {
  Counting job(UINT64_MAX);
  JobRig rig(job);
  rig.target->behaviour.fails = "attach";
  EXPECT_FALSE(rig.stack->start());
  EXPECT_EQ(job.done, 0U);
  EXPECT_TRUE(rig.stack->life().jobs().reports().empty());
}

}  // namespace
}  // namespace sluice::test
