#include "core/ready_list.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "core/task.hpp"

namespace sluice::test {
namespace {

// Coroutines that note their number each time they are resumed.
class Runners {
 public:
  explicit Runners(ReadyList& ready) : ready_(ready) {}
  ~Runners() {
    for (const std::coroutine_handle<> runner : runners_) runner.destroy();
  }

  // Makes runner `number`, which suspends at once, and continues whenever it is resumed.
  std::coroutine_handle<> add(int number) {
    (void)note(number);
    return runners_.back();
  }

  std::vector<int> order;
  int pushes_left = 0;  // how often a runner makes itself ready again

 private:
  struct Stop {
    Runners& runners;
    bool remember;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> coroutine) const {
      if (remember) runners.runners_.push_back(coroutine);
    }
    void await_resume() const {}
  };

  Service note(int number) {
    co_await Stop{*this, true};
    while (true) {
      order.push_back(number);
      if (pushes_left > 0) {
        --pushes_left;
        ready_.push(runners_[static_cast<size_t>(number)]);
      }
      co_await Stop{*this, false};
    }
  }

  ReadyList& ready_;
  std::vector<std::coroutine_handle<>> runners_;
};

TEST(ReadyList, IsEmptyAtFirst) { EXPECT_TRUE(ReadyList().empty()); }

TEST(ReadyList, ResumesNothingBeforeRun) {
  ReadyList ready;
  Runners runners(ready);
  ready.push(runners.add(0));
  EXPECT_FALSE(ready.empty());
  EXPECT_TRUE(runners.order.empty());
}

TEST(ReadyList, ResumesInTheOrderOfPushes) {
  ReadyList ready;
  Runners runners(ready);
  for (int i = 0; i < 5; ++i) ready.push(runners.add(i));
  ready.run();
  EXPECT_EQ(runners.order, (std::vector{0, 1, 2, 3, 4}));
  EXPECT_TRUE(ready.empty());
}

TEST(ReadyList, RunsWhatBecomesReadyWhileItRuns) {
  ReadyList ready;
  Runners runners(ready);
  runners.pushes_left = 3;
  ready.push(runners.add(0));
  ready.run();
  EXPECT_EQ(runners.order, (std::vector{0, 0, 0, 0}));
}

TEST(ReadyList, WhatBecomesReadyWhileItRunsWaitsForWhatWasReadyBefore) {
  ReadyList ready;
  Runners runners(ready);
  runners.pushes_left = 1;
  ready.push(runners.add(0));
  ready.push(runners.add(1));
  ready.run();
  EXPECT_EQ(runners.order, (std::vector{0, 1, 0}));
}

TEST(ReadyList, KeepsTheOrderWhenItGrowsInTheMiddleOfItsCircle) {
  ReadyList ready;
  Runners runners(ready);
  std::vector<std::coroutine_handle<>> handles(3000);
  for (int i = 0; i < 3000; ++i) handles[static_cast<size_t>(i)] = runners.add(i);
  for (size_t i = 0; i < 700; ++i) ready.push(handles[i]);
  ready.run();  // the circle begins at 700 now
  runners.order.clear();
  std::vector<int> expected;
  for (int i = 0; i < 3000; ++i) {
    ready.push(handles[static_cast<size_t>(i)]);
    expected.push_back(i);
  }
  ready.run();
  EXPECT_EQ(runners.order, expected);
}

}  // namespace
}  // namespace sluice::test
