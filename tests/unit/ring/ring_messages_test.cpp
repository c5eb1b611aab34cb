// post() and stop(): the functions of a ring that other threads may call.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>

#include "ring/kernel_ring.hpp"
#include "support/manual_ring.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

// Appends its number to a list that only the ring's thread uses.
class Note final : public Message {
 public:
  Note(std::vector<int>& list, int number) : list_(list), number_(number) {}
  void run() override { list_.push_back(number_); }

 private:
  std::vector<int>& list_;
  int number_;
};

class Stopper final : public Message {
 public:
  explicit Stopper(Ring& ring) : ring_(ring) {}
  void run() override { ring_.stop(); }

 private:
  Ring& ring_;
};

TEST(RingMessages, RunInTheOrderInWhichTheyWerePosted) {
  ManualRing ring;
  std::vector<int> list;
  std::deque<Note> notes;
  for (int i = 0; i < 10; ++i) ring.post(notes.emplace_back(list, i));
  EXPECT_TRUE(list.empty());
  ring.run_once(false);
  EXPECT_EQ(list, (std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(RingMessages, MayBePostedAgainWhileTheyRun) {
  class Again final : public Message {
   public:
    explicit Again(Ring& ring) : ring_(ring) {}
    void run() override {
      if (++runs < 3) ring_.post(*this);
    }
    int runs = 0;

   private:
    Ring& ring_;
  };
  ManualRing ring;
  Again again(ring);
  ring.post(again);
  for (int i = 0; i < 5; ++i) ring.run_once(false);
  EXPECT_EQ(again.runs, 3);
}

TEST(RingMessages, MayFreeThemselvesWhileTheyRun) {
  class OneShot final : public Message {
   public:
    explicit OneShot(int& runs) : runs_(runs) {}
    void run() override {
      ++runs_;
      delete this;
    }

   private:
    int& runs_;
  };
  ManualRing ring;
  int runs = 0;
  ring.post(*new OneShot(runs));
  ring.post(*new OneShot(runs));
  ring.run_once(false);
  EXPECT_EQ(runs, 2);
}

TEST(RingMessages, WhatTheyMakeReadyRunsInTheSameTurn) {
  class StartSleep final : public Message {
   public:
    explicit StartSleep(Ring& ring) : ring_(ring) {}
    void run() override {
      started_ = std::make_unique<Started>(ring_, View(), read_from({}, 0));  // refused at once
    }
    bool finished() const { return started_ != nullptr && started_->finished(); }

   private:
    Ring& ring_;
    std::unique_ptr<Started> started_;
  };
  ManualRing ring;
  StartSleep message(ring);
  ring.post(message);
  ring.run_once(false);
  EXPECT_TRUE(message.finished());
}

TEST(RingMessages, StopEndsAnIdleRun) {
  ManualRing ring;
  ring.stop();
  ring.run();
}

TEST(RingMessages, WhatWasPostedBeforeStopRunsBeforeTheRunEnds) {
  ManualRing ring;
  std::vector<int> list;
  Note note(list, 1);
  ring.post(note);
  ring.stop();
  ring.run();
  EXPECT_EQ(list, std::vector{1});
}

TEST(RingMessages, AMessageMayStopTheRing) {
  ManualRing ring;
  Stopper stopper(ring);
  ring.post(stopper);
  ring.run();
}

// Each thread posts its own numbers; the ring must see all of them, and each thread's in order.
void post_from_many_threads(Ring& ring) {
  constexpr int kThreads = 8;
  constexpr int kMessages = 2000;
  std::vector<std::vector<int>> lists(kThreads);
  std::vector<std::deque<Note>> notes(kThreads);
  Stopper stopper(ring);
  std::thread others([&] {
    std::vector<std::thread> threads(kThreads);
    for (size_t thread = 0; thread < kThreads; ++thread) {
      threads[thread] = std::thread([&, thread] {
        for (int i = 0; i < kMessages; ++i) ring.post(notes[thread].emplace_back(lists[thread], i));
      });
    }
    for (std::thread& thread : threads) thread.join();
    ring.post(stopper);
  });
  ring.run();
  others.join();
  for (const std::vector<int>& list : lists) {
    ASSERT_EQ(list.size(), kMessages);
    EXPECT_TRUE(std::ranges::is_sorted(list));
  }
}

TEST(RingMessagesThreads, AllOfThemRunAndEachThreadsInOrder) {
  ManualRing ring;
  post_from_many_threads(ring);
}

TEST(RingMessagesThreads, AllOfThemRunOnASleepingRing) {
  auto ring = KernelRing::create({});
  if (!ring) GTEST_SKIP() << ring.error().text;
  post_from_many_threads(**ring);
}

TEST(RingMessagesThreads, StopFromAnotherThreadWakesASleepingRing) {
  auto ring = KernelRing::create({});
  if (!ring) GTEST_SKIP() << ring.error().text;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (*ring)->stop();
  });
  (*ring)->run();
  other.join();
}

TEST(RingMessagesThreads, OneMessageWakesASleepingRing) {
  auto ring = KernelRing::create({});
  if (!ring) GTEST_SKIP() << ring.error().text;
  Stopper stopper(**ring);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (*ring)->post(stopper);
  });
  (*ring)->run();
  other.join();
}

// The other thread repeatedly posts and stops at once: no message may be left behind.
TEST(RingMessagesThreads, NothingPostedBeforeStopIsLost) {
  for (int round = 0; round < 200; ++round) {
    auto ring = KernelRing::create({.entries = 4});
    if (!ring) GTEST_SKIP() << ring.error().text;
    std::vector<int> list;
    Note note(list, 1);
    std::thread other([&] {
      (*ring)->post(note);
      (*ring)->stop();
    });
    (*ring)->run();
    other.join();
    ASSERT_EQ(list.size(), 1U) << "round " << round;
  }
}

TEST(RingMessagesThreads, StopWaitsForWhatIsInFlight) {
  auto ring = KernelRing::create({});
  if (!ring) GTEST_SKIP() << ring.error().text;
  const Started sleeping(
      **ring, [](Request& request) { return request.ring->sleep(std::chrono::milliseconds(30)); });
  (*ring)->stop();
  (*ring)->run();
  EXPECT_EQ(sleeping.error(), 0);
}

}  // namespace
}  // namespace sluice::test
