// The entry point, Target::submit(): the requests that it refuses, splits and emulates.
#include "target/target.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kSize = 1 << 20;

class TargetTest : public testing::Test {
 protected:
  // The status of a request that needs no I/O.
  Status at_once(Request& request) {
    Task task = member_.submit(request);
    ring_.settle();
    EXPECT_EQ(ring_.pending(), 0U);
    EXPECT_TRUE(task.finished());
    return task.status();
  }
  void expect_next(uint8_t opcode, uint64_t offset, uint64_t length) {
    ASSERT_EQ(ring_.pending(), 1U);
    const io_uring_sqe& sqe = ring_.sqe(0);
    EXPECT_EQ(sqe.opcode, opcode);
    EXPECT_EQ(sqe.off, offset);
    EXPECT_EQ(sqe.opcode == IORING_OP_FALLOCATE ? sqe.addr : sqe.len, length);
    ring_.complete(0, full_result(sqe));
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10);
  ManualRing ring_;
  TestTag tag_{ring_};
  Member member_{3, kSize};
};

TEST_F(TargetTest, RefusesWhatIsOutside) {
  const std::span<std::byte> data = std::span(memory_).first(4096);
  for (const Op op : {Op::read, Op::write}) {
    EXPECT_EQ(at_once(tag_.make(op, kSize, data)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, kSize - 512, data)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, UINT64_MAX - 511, data)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, UINT64_MAX - 4095, data)).error(), EINVAL);
  }
  for (const Op op : {Op::discard, Op::write_zeroes}) {
    EXPECT_EQ(at_once(tag_.make(op, 0, kSize + 512)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, 512, kSize)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, kSize, uint64_t{512})).error(), EINVAL);
    // The sum would overflow.
    EXPECT_EQ(at_once(tag_.make(op, 4096, UINT64_MAX - 4095)).error(), EINVAL);
    EXPECT_EQ(at_once(tag_.make(op, UINT64_MAX - 511, uint64_t{1024})).error(), EINVAL);
  }
}

TEST_F(TargetTest, RefusesWhatIsNotAligned) {
  member_.shape().logical_block_bytes = 4096;
  EXPECT_EQ(at_once(tag_.make(Op::read, 512, std::span(memory_).first(4096))).error(), EINVAL);
  EXPECT_EQ(at_once(tag_.make(Op::read, 0, std::span(memory_).first(512))).error(), EINVAL);
  EXPECT_EQ(at_once(tag_.make(Op::write, 0, std::span(memory_).first(4097))).error(), EINVAL);
  EXPECT_EQ(at_once(tag_.make(Op::discard, 1, uint64_t{4096})).error(), EINVAL);
  EXPECT_EQ(at_once(tag_.make(Op::write_zeroes, 4096, uint64_t{6144})).error(), EINVAL);
}

TEST_F(TargetTest, AcceptsTheLastBlock) {
  Task task = member_.submit(tag_.make(Op::read, kSize - 512, std::span(memory_).first(512)));
  ring_.settle();
  expect_next(IORING_OP_READ, kSize - 512, 512);
  EXPECT_TRUE(task.status().ok());
}

TEST_F(TargetTest, AnEmptyRequestIsDone) {
  for (const uint64_t offset : {uint64_t{0}, kSize}) {
    for (const Op op : {Op::read, Op::write}) {
      EXPECT_TRUE(at_once(tag_.make(op, offset, std::span<std::byte>())).ok());
    }
    for (const Op op : {Op::discard, Op::write_zeroes}) {
      EXPECT_TRUE(at_once(tag_.make(op, offset, uint64_t{0})).ok());
    }
  }
  EXPECT_EQ(at_once(tag_.make(Op::discard, kSize + 512, uint64_t{0})).error(), EINVAL);
}

TEST_F(TargetTest, AReadOnlyTargetServesReadsAndFlushes) {
  member_.shape().read_only = true;
  const std::span<std::byte> data = std::span(memory_).first(512);
  EXPECT_EQ(at_once(tag_.make(Op::write, 0, data)).error(), EROFS);
  EXPECT_EQ(at_once(tag_.make(Op::discard, 0, uint64_t{512})).error(), EROFS);
  EXPECT_EQ(at_once(tag_.make(Op::write_zeroes, 0, uint64_t{512})).error(), EROFS);
  {
    Task read = member_.submit(tag_.make(Op::read, 0, data));
    ring_.settle();
    expect_next(IORING_OP_READ, 0, 512);
    EXPECT_TRUE(read.status().ok());
  }
  Task flush = member_.submit(tag_.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  expect_next(IORING_OP_FSYNC, 0, 0);
  EXPECT_TRUE(flush.status().ok());
}

TEST_F(TargetTest, ABrokenViewIsReportedBeforeAByteMoves) {
  Request& request = tag_.make(Op::write, 0, memory_);
  request.data = request.data.slice(512, static_cast<uint32_t>(memory_.size()), tag_.arena);
  EXPECT_EQ(at_once(request).error(), EFAULT);
}

TEST_F(TargetTest, DataOfAnotherLengthIsRefused) {
  Request& request = tag_.make(Op::write, 0, memory_);
  request.length -= 512;
  EXPECT_EQ(at_once(request).error(), EINVAL);
}

// A target of an embedding program: throws before it has a coroutine, or in one.
class Throws final : public Target {
 public:
  explicit Throws(bool at_once) : at_once_(at_once) { geometry_.size_bytes = kSize; }

 private:
  Task do_submit(Request& request) override {
    if (at_once_) throw std::runtime_error("at once");
    return wait_and_throw(request);
  }
  Task wait_and_throw(Request& request) {
    auto reading = request.ring->read({.number = 3}, 0, request.data);
    (void)co_await reading;
    throw std::runtime_error("later");
  }

  const bool at_once_;
};

TEST_F(TargetTest, AnExceptionOfATargetIsAnError) {
  Throws at_once(true);
  EXPECT_EQ(at_once.submit(tag_.make(Op::read, 0, memory_)).status().error(), EIO);
  Throws later(false);
  Task task = later.submit(tag_.make(Op::read, 0, memory_));
  ring_.settle();
  EXPECT_FALSE(task.finished());
  expect_next(IORING_OP_READ, 0, memory_.size());
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST_F(TargetTest, WithoutAVolatileCacheAFlushIsDone) {
  member_.shape().volatile_cache = false;
  EXPECT_TRUE(at_once(tag_.make(Op::flush, 0, uint64_t{0})).ok());
}

TEST_F(TargetTest, WithoutDiscardADiscardIsRefused) {
  member_.shape().can_discard = false;
  EXPECT_EQ(at_once(tag_.make(Op::discard, 0, uint64_t{512})).error(), EOPNOTSUPP);
}

TEST_F(TargetTest, CutsAtTheLargestRequestTheTargetTakes) {
  member_.shape().max_io_bytes = 24 << 10;
  for (const Op op : {Op::read, Op::write}) {
    const uint8_t opcode = op == Op::read ? IORING_OP_READ : IORING_OP_WRITE;
    Task task = member_.submit(tag_.make(op, 4096, memory_));
    ring_.settle();
    const uint64_t address = reinterpret_cast<uint64_t>(memory_.data());
    EXPECT_EQ(ring_.sqe(0).addr, address);
    expect_next(opcode, 4096, 24 << 10);
    EXPECT_EQ(ring_.sqe(0).addr, address + (24 << 10));
    expect_next(opcode, 4096 + (24 << 10), 24 << 10);
    EXPECT_EQ(ring_.sqe(0).addr, address + (48 << 10));
    EXPECT_FALSE(task.finished());
    expect_next(opcode, 4096 + (48 << 10), 16 << 10);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
  EXPECT_EQ(tag_.arena.overflows(), 0U);
}

TEST_F(TargetTest, ACutRequestStopsAtItsFirstError) {
  member_.shape().max_io_bytes = 16 << 10;
  Task task = member_.submit(tag_.make(Op::write, 0, memory_));
  ring_.settle();
  expect_next(IORING_OP_WRITE, 0, 16 << 10);
  ring_.complete(0, -ENOSPC);
  EXPECT_EQ(ring_.pending(), 0U);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), ENOSPC);
}

TEST_F(TargetTest, CutsDiscardsAndZeroesAtTheirOwnLimit) {
  member_.shape().max_discard_bytes = kSize / 2;
  member_.shape().max_io_bytes = 4096;
  for (const Op op : {Op::discard, Op::write_zeroes}) {
    Task task = member_.submit(tag_.make(op, 512, kSize - 512));
    ring_.settle();
    expect_next(IORING_OP_FALLOCATE, 512, kSize / 2);
    expect_next(IORING_OP_FALLOCATE, kSize / 2 + 512, kSize / 2 - 512);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
}

TEST_F(TargetTest, FuaIsAWriteAndThenAFlush) {
  member_.shape().can_fua = false;
  Request& request = tag_.make(Op::write, 0, std::span(memory_).first(4096));
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).rw_flags, 0);
  expect_next(IORING_OP_WRITE, 0, 4096);
  EXPECT_FALSE(task.finished());
  expect_next(IORING_OP_FSYNC, 0, 0);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST_F(TargetTest, FuaDoesNotFlushWhatWasNotWritten) {
  member_.shape().can_fua = false;
  Request& request = tag_.make(Op::write, 0, std::span(memory_).first(4096));
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  ring_.complete(0, -EIO);
  EXPECT_EQ(ring_.pending(), 0U);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST_F(TargetTest, AFailedFlushFailsTheFua) {
  member_.shape().can_fua = false;
  Request& request = tag_.make(Op::write_zeroes, 0, uint64_t{4096});
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  expect_next(IORING_OP_FALLOCATE, 0, 4096);
  ring_.complete(0, -ENOSPC);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO) << "a flush without room has lost earlier writes";
}

TEST_F(TargetTest, FuaFlushesOnceAfterAllParts) {
  member_.shape().can_fua = false;
  member_.shape().max_io_bytes = 32 << 10;
  Request& request = tag_.make(Op::write, 0, memory_);
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  expect_next(IORING_OP_WRITE, 0, 32 << 10);
  expect_next(IORING_OP_WRITE, 32 << 10, 32 << 10);
  expect_next(IORING_OP_FSYNC, 0, 0);
  EXPECT_TRUE(task.finished());
}

TEST_F(TargetTest, FuaIsLeftToATargetThatHasIt) {
  Request& request = tag_.make(Op::write, 0, std::span(memory_).first(4096));
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  expect_next(IORING_OP_WRITE, 0, 4096);
  EXPECT_TRUE(task.finished());
}

TEST_F(TargetTest, ZeroesAreWrittenByHandWhereThereIsNothingBetter) {
  member_.shape().can_write_zeroes = false;
  Task task = member_.submit(tag_.make(Op::write_zeroes, 512, uint64_t{600 << 10}));
  ring_.settle();
  uint64_t done = 0;
  while (ring_.pending() != 0) {
    const io_uring_sqe& sqe = ring_.sqe(0);
    ASSERT_EQ(sqe.opcode, IORING_OP_WRITE);
    EXPECT_EQ(sqe.off, 512 + done);
    const std::span memory(reinterpret_cast<const std::byte*>(sqe.addr), sqe.len);
    EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte byte) { return byte == std::byte{0}; }));
    done += sqe.len;
    ring_.complete(0, full_result(sqe));
  }
  EXPECT_EQ(done, 600U << 10);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
  EXPECT_EQ(tag_.arena.overflows(), 0U);
}

TEST_F(TargetTest, ZeroesByHandAreDurableWhenAskedTo) {
  member_.shape().can_write_zeroes = false;
  Request& request = tag_.make(Op::write_zeroes, 0, uint64_t{4096});
  request.fua = true;
  Task task = member_.submit(request);
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  expect_next(IORING_OP_WRITE, 0, 4096);
  EXPECT_TRUE(task.finished());
}

// A layer that only forwards.
class Shift final : public Target {
 public:
  Shift(Children children, uint64_t by) : Target(std::move(children)), by_(by) {
    geometry_ = common_geometry(this->children());
    geometry_.size_bytes = geometry_.size_bytes - by;
  }

 private:
  Task do_submit(Request& request) override {
    if (request.op == Op::flush) return submit_to_all(request);
    return forward(request, child(0), request.offset + by_);
  }
  const uint64_t by_;
};

TEST_F(TargetTest, ForwardingKeepsEverythingButTheOffset) {
  Shift shift(make_members({kSize}), 8192);
  for (const Op op : {Op::read, Op::write}) {
    Request& request = tag_.make(op, 512, std::span(memory_).first(4096));
    request.fua = op == Op::write;
    Task task = shift.submit(request);
    ring_.settle();
    EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(memory_.data()));
    EXPECT_EQ(ring_.sqe(0).rw_flags, op == Op::write ? RWF_DSYNC : 0);
    expect_next(op == Op::read ? IORING_OP_READ : IORING_OP_WRITE, 8192 + 512, 4096);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
  Task task = shift.submit(tag_.make(Op::discard, 512, uint64_t{4096}));
  ring_.settle();
  expect_next(IORING_OP_FALLOCATE, 8192 + 512, 4096);
  EXPECT_TRUE(task.finished());
}

}  // namespace
}  // namespace sluice::test
