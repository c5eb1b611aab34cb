// ublk::Queue in copying modes: requests take their memory from the reserve, and wait in order.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include "frontend/ublk/queue.hpp"
#include "support/manual_ring.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using ublk::BufferMode;
using ublk::Queue;
namespace abi = ublk::abi;

class UblkReserve : public testing::Test, private QueueListener {
 protected:
  static constexpr uint16_t kDepth = 4;
  static constexpr uint32_t kMaxBytes = 256 << 10;
  static constexpr int kCharDevice = 100;

  void start(BufferMode mode, uint32_t reserve_bytes) {
    ring_.set_file(0, stack_->files()[0]);
    ring_.set_file(kCharDevice, -1);
    queue_ = Queue::create({.depth = kDepth,
                            .max_io_bytes = kMaxBytes,
                            .mode = mode,
                            .user_copy = true,
                            .reserve_bytes = reserve_bytes,
                            .char_device = {.number = kCharDevice, .registered = true}},
                           ring_, *stack_, *this)
                 .value();
    queue_->start_on(descriptors_.data(), -1);
    ring_.settle();
    ASSERT_EQ(count(IORING_OP_URING_CMD), kDepth);
  }
  void TearDown() override {
    while (ring_.pending() != 0) {
      const bool command = ring_.sqe(0).opcode == IORING_OP_URING_CMD;
      ring_.complete(0, command ? -ENODEV : -EIO);
    }
    EXPECT_TRUE(finished_);
  }
  void finished() override { finished_ = true; }

  // Completes the command of a tag with a new request.
  void deliver(uint16_t tag, uint8_t op, uint32_t bytes) {
    descriptors_[tag] = {.op_flags = op, .sectors = bytes >> 9, .start_sector = 0, .address = 0};
    ring_.complete(find(IORING_OP_URING_CMD, tag), abi::kResultOk);
  }
  size_t find(uint8_t opcode, std::optional<uint16_t> tag = std::nullopt) const {
    size_t index = 0;
    for (; index < ring_.pending(); ++index) {
      const io_uring_sqe& sqe = ring_.sqe(index);
      abi::IoCommand command{};
      std::memcpy(&command, sqe.cmd, sizeof(command));
      if (sqe.opcode == opcode && (!tag || command.tag == *tag)) break;
    }
    return index;
  }
  size_t count(uint8_t opcode) const {
    size_t found = 0;
    for (size_t i = 0; i < ring_.pending(); ++i) found += ring_.sqe(i).opcode == opcode;
    return found;
  }
  // Completes all bytes of the first pending operation of this kind.
  void complete(uint8_t opcode) {
    const size_t index = find(opcode);
    ASSERT_LT(index, ring_.pending());
    ring_.complete(index, static_cast<int32_t>(ring_.sqe(index).len));
  }

  ManualRing ring_;
  std::unique_ptr<Stack> stack_ = open_stack("mem:1M").value();
  std::array<abi::IoDescriptor, kDepth> descriptors_{};
  std::unique_ptr<Queue> queue_;
  bool finished_ = false;
};

TEST_F(UblkReserve, LargeRequestsGoOneAfterTheOther) {
  start(BufferMode::user_copy, 0);
  for (uint16_t tag = 0; tag < 3; ++tag) deliver(tag, abi::kOpWrite, kMaxBytes);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(count(IORING_OP_READ), 1U) << "from the driver";
    EXPECT_EQ(count(IORING_OP_WRITE), 0U);
    complete(IORING_OP_READ);
    EXPECT_EQ(count(IORING_OP_READ), 0U) << "its pages are still in use";
    complete(IORING_OP_WRITE);
  }
  EXPECT_EQ(count(IORING_OP_URING_CMD), kDepth);
  EXPECT_EQ(queue_->counters().errors, 0U);
}

TEST_F(UblkReserve, SmallRequestsGoSideBySide) {
  start(BufferMode::user_copy, 0);
  for (uint16_t tag = 0; tag < kDepth; ++tag) deliver(tag, abi::kOpWrite, 65536);
  EXPECT_EQ(count(IORING_OP_READ), kDepth);
  std::array<uint64_t, kDepth> places{};
  for (size_t i = 0; i < kDepth; ++i) places[i] = ring_.sqe(i).addr;
  std::ranges::sort(places);
  for (size_t i = 1; i < kDepth; ++i) EXPECT_GE(places[i] - places[i - 1], 65536U);
}

// A later request that needs less memory does not overtake a waiting one.
TEST_F(UblkReserve, WhoWaitsIsServedInTurn) {
  start(BufferMode::user_copy, 0);
  deliver(0, abi::kOpWrite, kMaxBytes / 2);
  deliver(1, abi::kOpWrite, kMaxBytes);
  deliver(2, abi::kOpWrite, 4096);
  EXPECT_EQ(count(IORING_OP_READ), 1U);
  complete(IORING_OP_READ);
  complete(IORING_OP_WRITE);
  ASSERT_EQ(count(IORING_OP_READ), 1U);
  EXPECT_EQ(ring_.sqe(find(IORING_OP_READ)).len, kMaxBytes);
}

TEST_F(UblkReserve, AFailedRequestGivesItsPagesBack) {
  start(BufferMode::user_copy, 0);
  for (uint16_t tag = 0; tag < 2; ++tag) deliver(tag, abi::kOpRead, kMaxBytes);
  ring_.complete(find(IORING_OP_READ), -EIO);  // of the stack
  EXPECT_EQ(count(IORING_OP_READ), 1U) << "the next one";
  EXPECT_EQ(queue_->counters().errors, 1U);
}

// The buffer table is full, and the driver also refuses to register the pages by command.
TEST_F(UblkReserve, PagesThatCannotBeLentAreCopied) {
  start(BufferMode::auto_register, 0);
  descriptors_[0] = {.op_flags = abi::kOpWrite | abi::kIoNeedRegBuf,
                     .sectors = kMaxBytes >> 9,
                     .start_sector = 0,
                     .address = 0};
  ring_.complete(find(IORING_OP_URING_CMD, 0), abi::kResultOk);
  ring_.complete(find(IORING_OP_URING_CMD, 0), -EBUSY);
  complete(IORING_OP_READ);
  complete(IORING_OP_WRITE);
  EXPECT_EQ(count(IORING_OP_URING_CMD), kDepth);
  EXPECT_EQ(queue_->counters().copied_bytes, kMaxBytes);
}

TEST_F(UblkReserve, SaysWhatItsBuffersExceed) {
  start(BufferMode::copy, kDepth * kMaxBytes - 1);
  EXPECT_NE(queue_->swap_risk().find("--reserve"), std::string::npos) << queue_->swap_risk();
}

TEST_F(UblkReserve, SaysThatLargeRequestsTakeMemoryToLend) {
  start(BufferMode::auto_register, 0);
  EXPECT_NE(queue_->swap_risk().find("131072"), std::string::npos) << queue_->swap_risk();
}

}  // namespace
}  // namespace sluice::test
