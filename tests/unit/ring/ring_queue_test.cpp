// At the limits of the submission and completion queues operations wait and do not fail. Their
// order, and when the loop resumes coroutines.
#include "ring/ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class RingQueueTest : public testing::Test {
 protected:
  // Operation i reads one byte at offset i.
  void start(ManualRing& ring, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      started_.emplace_back(ring, lent_.loan.view(i % 4096, 1), read_from({.number = 5}, i));
    }
  }

  static std::vector<uint64_t> offsets(const ManualRing& ring) {
    std::vector<uint64_t> offsets(ring.pending());
    for (size_t i = 0; i < ring.pending(); ++i) offsets[i] = ring.sqe(i).off;
    return offsets;
  }

  bool all_succeeded() const {
    return std::ranges::all_of(started_, [](const Started& one) { return one.error() == 0; });
  }

  Bytes memory_ = repeated(4096, 0);
  Lent lent_{Direction::destination, memory_};
  std::deque<Started> started_;
};

TEST_F(RingQueueTest, OperationsAreSubmittedInTheOrderInWhichTheyAreAwaited) {
  ManualRing ring;
  start(ring, 5);
  ring.settle();
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{0, 1, 2, 3, 4}));
  while (ring.pending() != 0) ring.complete(0, 1);
}

TEST_F(RingQueueTest, AllThatIsAwaitedBetweenTwoRunsIsOneBatch) {
  ManualRing ring;
  start(ring, 5);
  EXPECT_EQ(ring.pending(), 0U);
  ring.run_once(false);
  EXPECT_EQ(ring.pending(), 5U);
  while (ring.pending() != 0) ring.complete(0, 1);
}

TEST_F(RingQueueTest, AFullSubmissionQueueKeepsTheOrder) {
  ManualRing ring(4, 256);
  start(ring, 50);
  EXPECT_TRUE(ring.waiting());
  ring.settle();
  EXPECT_FALSE(ring.waiting());
  ASSERT_EQ(ring.pending(), 50U);
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(ring.sqe(i).off, i);
  while (ring.pending() != 0) ring.complete(0, 1);
  EXPECT_TRUE(all_succeeded());
}

TEST_F(RingQueueTest, NoMoreIsInFlightThanThereIsRoomForCompletions) {
  ManualRing ring(16, 32);
  start(ring, 100);
  ring.settle();
  uint64_t next = 0;
  while (ring.pending() != 0) {
    EXPECT_LE(ring.in_flight(), 32U);
    EXPECT_LE(ring.pending(), 32U);
    EXPECT_EQ(ring.sqe(0).off, next++);
    ring.complete(0, 1);
  }
  EXPECT_EQ(next, 100U);
  EXPECT_TRUE(all_succeeded());
  EXPECT_EQ(ring.in_flight(), 0U);
}

TEST_F(RingQueueTest, WhatWaitsIsNotOvertaken) {
  ManualRing ring(4, 4);
  start(ring, 6);
  ring.settle();
  ring.complete(0, 1);  // makes room for one of the two waiting operations
  start(ring, 1);       // offset 0 again, but the newest
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{1, 2, 3, 4}));
  ring.complete(0, 1);
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{2, 3, 4, 5}));
  ring.complete(0, 1);
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{3, 4, 5, 0}));
  while (ring.pending() != 0) ring.complete(0, 1);
}

TEST_F(RingQueueTest, TheRestOfAShortTransferWaitsItsTurn) {
  ManualRing ring(2, 2);
  Started long_one(ring, lent_.loan.view(0, 100), read_from({.number = 5}, 1000));
  start(ring, 2);
  ring.settle();
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{1000, 0}));
  ring.complete(0, 50);
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{0, 1}));
  ring.complete(0, 1);
  EXPECT_EQ(offsets(ring), (std::vector<uint64_t>{1, 1050}));
  while (ring.pending() != 0) ring.complete(0, ring.sqe(0).off == 1050 ? 50 : 1);
  EXPECT_EQ(long_one.error(), 0);
}

TEST_F(RingQueueTest, WhatIsRefusedNeedsNoRoom) {
  ManualRing ring;
  const Started sending(ring, View(), send_to({.number = 5}));
  EXPECT_TRUE(sending.finished());
  EXPECT_EQ(ring.in_flight(), 0U);
}

TEST_F(RingQueueTest, CountersCountSubmissionsAndCompletions) {
  ManualRing ring;
  start(ring, 3);
  ring.settle();
  EXPECT_EQ(ring.counters().submitted, 3U);
  EXPECT_EQ(ring.counters().completed, 0U);
  while (ring.pending() != 0) ring.complete(0, 1);
  EXPECT_EQ(ring.counters().completed, 3U);
}

// Notes how many completions the ring had collected when it was resumed.
class Witness {
 public:
  explicit Witness(Ring& ring) : ring_(ring) {}
  Task run(Request& request) {
    auto sleeping = request.ring->sleep(std::chrono::nanoseconds(1));
    const Status status = co_await sleeping;
    completed_when_resumed = ring_.counters().completed;
    co_return status;
  }
  uint64_t completed_when_resumed = 0;

 private:
  Ring& ring_;
};

// A ring that has all its completions at once.
class BatchRing final : public Ring {
 public:
  BatchRing() { set_limits(1000, 0); }

 private:
  io_uring_sqe* next_sqe() override {
    sqes_.emplace_back();
    return &sqes_.back();
  }
  void put_file(File, int) override {}
  uint32_t free_sqes() const override { return 1; }
  void enter(bool) override {}
  uint32_t reap(std::span<Cqe> batch) override {
    uint32_t count = 0;
    while (count < batch.size() && !sqes_.empty()) {
      batch[count++] = {sqes_.front().user_data, -ETIME, 0};
      sqes_.pop_front();
    }
    return count;
  }
  void wake() override {}

  std::deque<io_uring_sqe> sqes_;
};

TEST_F(RingQueueTest, NothingIsResumedBeforeAllCompletionsAreCollected) {
  BatchRing ring;
  Arena arena(65536);
  Request request;
  request.ring = &ring;
  request.arena = &arena;
  request.ready = &ring.ready();
  std::deque<Witness> witnesses;
  std::deque<Task> tasks;
  for (int i = 0; i < 200; ++i) {
    tasks.push_back(witnesses.emplace_back(ring).run(request));
  }
  ring.run_once(true);
  for (const Witness& witness : witnesses) EXPECT_EQ(witness.completed_when_resumed, 200U);
}

}  // namespace
}  // namespace sluice::test
