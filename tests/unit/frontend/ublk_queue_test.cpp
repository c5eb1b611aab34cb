// ublk::Queue on a ManualRing: the commit is linked to the operation of a request that has exactly
// one. The operation may be short, fail or be cancelled.
#include "frontend/ublk/queue.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "support/manual_ring.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using ublk::BufferMode;
using ublk::Queue;
namespace abi = ublk::abi;

constexpr uint8_t kLinked = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;

// A queue of one tag, with memory_ as the pages of its requests.
class QueueRig final : private QueueListener {
 public:
  explicit QueueRig(std::string_view spec, BufferMode mode = BufferMode::auto_register,
                    uint32_t sq_entries = 8)
      : ring_(sq_entries), stack_(open_stack(spec).value()) {
    for (size_t i = 0; i < stack_->files().size(); ++i) {
      ring_.set_file(static_cast<int>(i), stack_->files()[i]);
    }
    ring_.set_file(kCharDevice, -1);
    const Queue::Setup setup{
        .depth = 1,
        .max_io_bytes = kMaxBytes,
        .mode = mode,
        .user_copy = is_zero_copy(mode),
        .char_device = {.number = kCharDevice, .registered = true},
    };
    queue_ = Queue::create(setup, ring_, *stack_, *this).value();
    queue_->start_on(&descriptor_, -1);
    ring_.settle();
    for (int slot = 0; slot < 64; ++slot) ring_.set_buffer(slot, memory_);
  }

  // The driver takes the tag back.
  ~QueueRig() {
    while (finished_count_ == 0 && ring_.pending() != 0) {
      const bool command = ring_.sqe(0).opcode == IORING_OP_URING_CMD;
      ring_.complete(0, command ? -ENODEV : -EIO);
    }
    rest();
  }

  // The tag's command ends with a new request.
  void deliver(uint8_t op, uint64_t offset, uint32_t bytes, uint32_t flags = 0) {
    descriptor_ = {
        .op_flags = op | flags, .sectors = bytes >> 9, .start_sector = offset >> 9, .address = 0};
    ring_.complete(0, abi::kResultOk);
  }

  // The result in the commit, which must be the only pending SQE.
  int32_t committed() const {
    EXPECT_EQ(ring_.pending(), 1U);
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_URING_CMD);
    EXPECT_EQ(ring_.sqe(0).cmd_op, static_cast<uint32_t>(abi::kCommitAndFetchReq));
    abi::IoCommand command{};
    std::memcpy(&command, ring_.sqe(0).cmd, sizeof(command));
    return command.result;
  }
  bool linked(size_t index = 0) const { return (ring_.sqe(index).flags & kLinked) == kLinked; }
  const QueueCounters& counters() const { return queue_->counters(); }
  uint64_t served(Op op) const { return counters().requests[static_cast<size_t>(op)]; }
  uint64_t errors() const { return counters().errors; }

  Queue& queue() { return *queue_; }

  // Pauses the queue, which then checks its tags repeatedly, with a timer in between.
  void pause() {
    queue_->pause();
    ring_.settle();
  }
  void rest() {
    if (const auto timer = find(IORING_OP_TIMEOUT)) ring_.complete(*timer, -ETIME);
  }
  void perform_read() {
    const auto reading = find(IORING_OP_READ_FIXED);
    ASSERT_TRUE(reading);
    ring_.perform(*reading);
  }

  void finished() override { ++finished_count_; }

  static constexpr int kCharDevice = 100;
  static constexpr uint32_t kMaxBytes = 256 << 10;
  std::vector<std::byte> memory_ = std::vector<std::byte>(kMaxBytes);
  int finished_count_ = 0;
  ManualRing ring_;

 private:
  std::optional<size_t> find(uint8_t opcode) const {
    for (size_t i = 0; i < ring_.pending(); ++i) {
      if (ring_.sqe(i).opcode == opcode) return i;
    }
    return std::nullopt;
  }

  abi::IoDescriptor descriptor_{};
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Queue> queue_;
};

struct Ends final : QueueListener {
  void finished() override { ++count; }
  int count = 0;
};

TEST(UblkQueue, OneOperationIsLinkedToItsCommit) {
  for (const uint8_t op : {abi::kOpRead, abi::kOpWrite}) {
    QueueRig rig("mem:1M");
    const uint64_t before = rig.ring_.counters().submitted;
    rig.deliver(op, 8192, 65536);
    ASSERT_EQ(rig.ring_.pending(), 1U);
    EXPECT_TRUE(rig.linked());
    rig.ring_.perform(0);
    EXPECT_EQ(rig.committed(), 65536);
    EXPECT_EQ(rig.ring_.counters().submitted - before, 2U);
    EXPECT_EQ(rig.ring_.in_flight(), 1U);
    EXPECT_EQ(rig.served(op == abi::kOpRead ? Op::read : Op::write), 1U);
    rig.deliver(abi::kOpRead, 0, 4096);
    rig.ring_.perform(0);
    rig.ring_.complete(0, -ENODEV);
    EXPECT_EQ(rig.finished_count_, 1);
    EXPECT_EQ(rig.errors(), 0U);
    EXPECT_EQ(rig.ring_.in_flight(), 0U);
  }
}

TEST(UblkQueue, ATagThatTheDriverDoesNotGiveOutIsARefusal) {
  QueueRig rig("mem:1M");
  EXPECT_TRUE(rig.queue().check_taken());
  rig.ring_.complete(0, -EINVAL);
  EXPECT_EQ(rig.queue().check_taken().error().error, EINVAL);
  EXPECT_EQ(rig.finished_count_, 1);
}

TEST(UblkQueue, ATagThatTheDriverTakesBackLaterIsNone) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpFlush, 0, 0);
  EXPECT_EQ(rig.committed(), 0);
  rig.ring_.complete(0, -ENODEV);
  EXPECT_EQ(rig.finished_count_, 1);
  EXPECT_TRUE(rig.queue().check_taken());
}

TEST(UblkQueue, AShortOperationIsContinuedAndThenCommitted) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpRead, 0, 65536);
  rig.ring_.perform(0, 4096);
  ASSERT_EQ(rig.ring_.pending(), 1U);
  EXPECT_EQ(rig.ring_.sqe(0).opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(rig.ring_.sqe(0).len, 61440U);
  EXPECT_FALSE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 65536);
  EXPECT_EQ(rig.served(Op::read), 1U);
  EXPECT_EQ(rig.ring_.in_flight(), 1U);
}

TEST(UblkQueue, AFailedOperationIsCommittedWithItsError) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpWrite, 0, 4096);
  rig.ring_.complete(0, -EIO);
  EXPECT_EQ(rig.committed(), -EIO);
  EXPECT_EQ(rig.errors(), 1U);
  rig.deliver(abi::kOpWrite, 0, 4096);  // the next request is linked again
  EXPECT_TRUE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 4096);
}

TEST(UblkQueue, AReadOfNothingIsNoSuccess) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpRead, 0, 4096);
  rig.ring_.complete(0, 0);
  EXPECT_EQ(rig.committed(), -EIO);
}

// If the kernel has no memory for the commit, it cancels the operation before it.
TEST(UblkQueue, AnOperationThatCouldNotBeLinkedIsDoneWithoutALink) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpWrite, 0, 4096);
  rig.ring_.complete(0, -ECANCELED);
  ASSERT_EQ(rig.ring_.pending(), 1U);
  EXPECT_EQ(rig.ring_.sqe(0).opcode, IORING_OP_WRITE_FIXED);
  EXPECT_FALSE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 4096);
}

TEST(UblkQueue, AFailedLinkedCommitEndsTheTag) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpRead, 0, 4096);
  rig.ring_.perform(0);
  rig.ring_.complete(0, -EINVAL);
  EXPECT_EQ(rig.finished_count_, 1);
  EXPECT_EQ(rig.served(Op::read), 1U);
}

TEST(UblkQueue, WhatIsNotAllOfARequestIsNotLinked) {
  QueueRig rig("stripe(mem:1M, mem:1M, chunk=4k)");
  rig.deliver(abi::kOpWrite, 0, 16384);
  ASSERT_EQ(rig.ring_.pending(), 2U);
  EXPECT_FALSE(rig.linked(0));
  EXPECT_FALSE(rig.linked(1));
  rig.ring_.perform(0);
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 16384);
  rig.deliver(abi::kOpRead, 4096, 4096);  // one chunk, at another offset on its member
  EXPECT_TRUE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 4096);
}

TEST(UblkQueue, NothingIsLinkedWhereSomethingIsStillToBeDone) {
  {
    QueueRig rig("mem:1M");  // a durable write may find that the stack has lost data
    rig.deliver(abi::kOpWrite, 0, 4096, abi::kIoFua);
    EXPECT_FALSE(rig.linked());
    rig.ring_.perform_all();
  }
  {
    QueueRig rig("mem:1M", BufferMode::auto_register);  // the buffer was not registered
    rig.deliver(abi::kOpRead, 0, 4096, abi::kIoNeedRegBuf);
    rig.ring_.complete(0, 0);
    EXPECT_EQ(rig.ring_.sqe(0).opcode, IORING_OP_READ_FIXED);
    EXPECT_FALSE(rig.linked());
    rig.ring_.perform_all();
  }
  {
    QueueRig rig("fault(mem:1M)");  // this layer does not allow a linked commit
    rig.deliver(abi::kOpRead, 0, 4096);
    EXPECT_FALSE(rig.linked());
    rig.ring_.perform(0);
    EXPECT_EQ(rig.committed(), 4096);
  }
}

TEST(UblkQueue, WithoutRoomForBothTheCommitComesLater) {
  QueueRig rig("mem:1M", BufferMode::auto_register, 1);
  rig.deliver(abi::kOpRead, 0, 4096);
  EXPECT_FALSE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 4096);
}

TEST(UblkQueue, APausedQueueEndsWhenNothingMovesAnyMore) {
  QueueRig rig("fault(mem:1M)");
  rig.pause();
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 1);
  EXPECT_TRUE(rig.queue().leaves_commands());
}

TEST(UblkQueue, APausedQueueAnswersItsRequestsFirst) {
  QueueRig rig("fault(mem:1M)");
  rig.deliver(abi::kOpRead, 0, 4096);
  rig.pause();
  for (int i = 0; i < 3; ++i) rig.rest();
  EXPECT_EQ(rig.finished_count_, 0);
  rig.perform_read();
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 0) << "the commit may not have been submitted";
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 1);
  EXPECT_EQ(rig.served(Op::read), 1U);
}

TEST(UblkQueue, ARequestThatWasOnItsWayIsServedBeforeThePause) {
  QueueRig rig("fault(mem:1M)");
  rig.pause();
  rig.deliver(abi::kOpRead, 0, 4096);
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 0);
  rig.perform_read();
  rig.rest();
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 1);
}

TEST(UblkQueue, AQueueThatNeverStartedStopsAtOnce) {
  ManualRing ring;
  const auto stack = open_stack("mem:1M").value();
  Ends ends;
  const auto queue =
      Queue::create({.depth = 1, .max_io_bytes = 65536, .char_device = {}}, ring, *stack, ends);
  (*queue)->stop();
  (*queue)->stop();
  EXPECT_EQ(ends.count, 1);
}

// The queue asks the driver whether a linked commit is done; there is no driver here.
TEST(UblkQueue, IsNotPausedWhileALinkIsOut) {
  QueueRig rig("mem:1M");
  rig.deliver(abi::kOpRead, 0, 4096);
  rig.pause();
  rig.rest();
  EXPECT_EQ(rig.finished_count_, 0);
  rig.perform_read();
  for (int i = 0; i < 3; ++i) rig.rest();
  EXPECT_EQ(rig.finished_count_, 0);
}

// The time of a linked request is unknown, because the kernel commits it.
TEST(UblkQueue, SomeAreNotLinkedSoThatTheirTimesAreKnown) {
  QueueRig rig("mem:1M");
  int unlinked = 0;
  for (int i = 0; i < 320; ++i) {
    rig.deliver(abi::kOpRead, 0, 4096);
    EXPECT_EQ(rig.counters().in_flight, rig.linked() ? 0U : 1U);
    unlinked += rig.linked() ? 0 : 1;
    rig.ring_.perform(0);
    EXPECT_EQ(rig.committed(), 4096);
  }
  EXPECT_EQ(unlinked, 10);
  EXPECT_EQ(rig.served(Op::read), 320U);
  EXPECT_EQ(rig.counters().latency[0].stats().count, 10U);
  EXPECT_EQ(rig.counters().in_flight, 0U);
}

// In these modes the queue cannot ask the driver whether a linked commit is done.
TEST(UblkQueue, CopyingModesDoNotLink) {
  QueueRig rig("mem:1M", BufferMode::copy);
  rig.deliver(abi::kOpRead, 0, 4096);
  EXPECT_EQ(rig.ring_.sqe(0).opcode, IORING_OP_READ);
  EXPECT_FALSE(rig.linked());
  rig.ring_.perform(0);
  EXPECT_EQ(rig.committed(), 4096);
}

}  // namespace
}  // namespace sluice::test
