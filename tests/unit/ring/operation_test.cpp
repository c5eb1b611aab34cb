// The SQE of each operation: opcode, file, offset, memory, flags.
#include "ring/operation.hpp"

#include <gtest/gtest.h>

#include <array>

#include "ring/abi.hpp"
#include "ring/raw_operation.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

constexpr File kDescriptor{.number = 5};
constexpr File kSlotFile{.number = 7, .registered = true};

class OperationTest : public testing::Test {
 protected:
  // The SQE of an operation on `data`, which succeeds afterwards.
  io_uring_sqe sqe_of(View data, Started::Make make) {
    const uint32_t length = data.length();
    Started started(ring_, std::move(data), std::move(make));
    ring_.settle();
    if (ring_.pending() == 0) throw std::logic_error("nothing was submitted");
    const io_uring_sqe sqe = ring_.sqe(0);
    ring_.complete(0, static_cast<int32_t>(length));
    EXPECT_EQ(started.error(), 0);
    return sqe;
  }
  io_uring_sqe sqe_of(Started::Make make) { return sqe_of(View(), std::move(make)); }

  ManualRing ring_;
  std::array<std::byte, 4096> memory_{};
  Lent source_{Direction::source, memory_};
  Lent destination_{Direction::destination, memory_};
  Lent slotted_source_{Direction::source, memory_, 3};
  Lent slotted_destination_{Direction::destination, memory_, 3};
  Lent registered_source_{Direction::source, 4096, 9};
  Lent registered_destination_{Direction::destination, 4096, 9};
};

TEST_F(OperationTest, NothingIsSubmittedBeforeItIsAwaited) {
  {
    const auto reading = ring_.read(kDescriptor, 0, destination_.loan.view());
    ring_.settle();
  }
  EXPECT_EQ(ring_.pending(), 0U);
  EXPECT_EQ(ring_.counters().submitted, 0U);
}

TEST_F(OperationTest, AReadIntoMemoryIsAPlainRead) {
  const io_uring_sqe sqe = sqe_of(destination_.loan.view(512, 1024), read_from(kDescriptor, 8192));
  EXPECT_EQ(sqe.opcode, IORING_OP_READ);
  EXPECT_EQ(sqe.fd, 5);
  EXPECT_EQ(sqe.flags, 0);
  EXPECT_EQ(sqe.off, 8192U);
  EXPECT_EQ(sqe.addr, address_of(&memory_[512]));
  EXPECT_EQ(sqe.len, 1024U);
  EXPECT_EQ(sqe.rw_flags, 0);
}

TEST_F(OperationTest, AWriteFromMemoryIsAPlainWrite) {
  const io_uring_sqe sqe = sqe_of(source_.loan.view(512, 1024), write_to(kDescriptor, 8192));
  EXPECT_EQ(sqe.opcode, IORING_OP_WRITE);
  EXPECT_EQ(sqe.off, 8192U);
  EXPECT_EQ(sqe.addr, address_of(&memory_[512]));
  EXPECT_EQ(sqe.len, 1024U);
  EXPECT_EQ(sqe.rw_flags, 0);
}

TEST_F(OperationTest, FileOffsetsHave64Bits) {
  const uint64_t offset = uint64_t{1} << 60;
  EXPECT_EQ(sqe_of(destination_.loan.view(), read_from(kDescriptor, offset)).off, offset);
}

TEST_F(OperationTest, ADurableWriteSaysSo) {
  EXPECT_EQ(sqe_of(source_.loan.view(), write_to(kDescriptor, 0, true)).rw_flags, RWF_DSYNC);
}

TEST_F(OperationTest, ARegisteredFileIsNamedByItsSlot) {
  const io_uring_sqe sqe = sqe_of(source_.loan.view(), write_to(kSlotFile, 0));
  EXPECT_EQ(sqe.fd, 7);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
}

TEST_F(OperationTest, MemoryWithASlotIsReadFixedAtItsAddress) {
  const io_uring_sqe sqe =
      sqe_of(slotted_destination_.loan.view(512, 512), read_from(kSlotFile, 0));
  EXPECT_EQ(sqe.opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(sqe.buf_index, 3);
  EXPECT_EQ(sqe.addr, address_of(&memory_[512]));
}

TEST_F(OperationTest, RegisteredPagesAreReadFixedFromBaseZero) {
  const io_uring_sqe sqe =
      sqe_of(registered_destination_.loan.view(1024, 512), read_from(kSlotFile, 65536));
  EXPECT_EQ(sqe.opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(sqe.buf_index, 9);
  EXPECT_EQ(sqe.addr, 1024U);
  EXPECT_EQ(sqe.len, 512U);
  EXPECT_EQ(sqe.off, 65536U);
}

TEST_F(OperationTest, RegisteredPagesAreWrittenFixedFromBaseZero) {
  const io_uring_sqe sqe =
      sqe_of(registered_source_.loan.view(1024, 512), write_to(kSlotFile, 65536, true));
  EXPECT_EQ(sqe.opcode, IORING_OP_WRITE_FIXED);
  EXPECT_EQ(sqe.buf_index, 9);
  EXPECT_EQ(sqe.addr, 1024U);
  EXPECT_EQ(sqe.rw_flags, RWF_DSYNC);
}

TEST_F(OperationTest, ASendWaitsForAllAndRaisesNoSignal) {
  const io_uring_sqe sqe = sqe_of(source_.loan.view(8, 16), send_to(kDescriptor));
  EXPECT_EQ(sqe.opcode, IORING_OP_SEND);
  EXPECT_EQ(sqe.addr, address_of(&memory_[8]));
  EXPECT_EQ(sqe.len, 16U);
  EXPECT_EQ(sqe.msg_flags, uint32_t{MSG_WAITALL | MSG_NOSIGNAL});
  EXPECT_EQ(sqe.ioprio, 0);
}

TEST_F(OperationTest, ASendPassesItsFlagsOn) {
  const io_uring_sqe sqe = sqe_of(source_.loan.view(), [](Request& request) {
    return request.ring->send(kDescriptor, request.data, MSG_MORE);
  });
  EXPECT_EQ(sqe.msg_flags, uint32_t{MSG_WAITALL | MSG_NOSIGNAL | MSG_MORE});
}

TEST_F(OperationTest, ARecvWaitsForAll) {
  const io_uring_sqe sqe = sqe_of(destination_.loan.view(8, 16), recv_from(kSlotFile));
  EXPECT_EQ(sqe.opcode, IORING_OP_RECV);
  EXPECT_EQ(sqe.fd, 7);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(sqe.addr, address_of(&memory_[8]));
  EXPECT_EQ(sqe.len, 16U);
  EXPECT_EQ(sqe.msg_flags & MSG_WAITALL, uint32_t{MSG_WAITALL});
}

TEST_F(OperationTest, SocketsUseRegisteredPagesInPlace) {
  const io_uring_sqe sent = sqe_of(registered_source_.loan.view(64, 32), send_to(kDescriptor));
  EXPECT_EQ(sent.ioprio, abi::kRecvsendFixedBuf);
  EXPECT_EQ(sent.buf_index, 9);
  EXPECT_EQ(sent.addr, 64U);
  const io_uring_sqe got =
      sqe_of(registered_destination_.loan.view(64, 32), recv_from(kDescriptor));
  EXPECT_EQ(got.ioprio, abi::kRecvsendFixedBuf);
  EXPECT_EQ(got.buf_index, 9);
  EXPECT_EQ(got.addr, 64U);
}

TEST_F(OperationTest, WithoutFixedSocketsMemoryWithASlotIsSentFromItsAddress) {
  ring_.change_abilities({.vectored_fixed = true, .socket_fixed = false, .zero = {}});
  const io_uring_sqe sqe = sqe_of(slotted_source_.loan.view(64, 32), send_to(kDescriptor));
  EXPECT_EQ(sqe.ioprio, 0);
  EXPECT_EQ(sqe.buf_index, 0);
  EXPECT_EQ(sqe.addr, address_of(&memory_[64]));
}

TEST_F(OperationTest, AZeroCopySendUsesRegisteredPagesOnEveryKernel) {
  ring_.change_abilities({});
  const io_uring_sqe sqe = sqe_of(registered_source_.loan.view(64, 32), send_zc_to(kDescriptor));
  EXPECT_EQ(sqe.opcode, IORING_OP_SEND_ZC);
  EXPECT_EQ(sqe.ioprio, abi::kRecvsendFixedBuf);
  EXPECT_EQ(sqe.buf_index, 9);
  EXPECT_EQ(sqe.addr, 64U);
}

TEST_F(OperationTest, ZeroingRegisteredPagesReadsTheZeroDevice) {
  const io_uring_sqe sqe = sqe_of(registered_destination_.loan.view(1024, 512), zero_it());
  EXPECT_EQ(sqe.opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(sqe.fd, ring_.abilities().zero.number);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(sqe.buf_index, 9);
  EXPECT_EQ(sqe.addr, 1024U);
  EXPECT_EQ(sqe.off, 0U);
}

TEST_F(OperationTest, CopyingOutOfRegisteredPagesReadsTheLendersFile) {
  Lent lent(Direction::source, 4096, 9, kDescriptor, uint64_t{1} << 41);
  std::array<std::byte, 100> copy;
  const io_uring_sqe sqe = sqe_of(lent.loan.view(1024, 100), copy_out_to(copy));
  EXPECT_EQ(sqe.opcode, IORING_OP_READ);
  EXPECT_EQ(sqe.fd, 5);
  EXPECT_EQ(sqe.off, (uint64_t{1} << 41) + 1024);
  EXPECT_EQ(sqe.addr, address_of(copy.data()));
  EXPECT_EQ(sqe.len, 100U);
  EXPECT_EQ(sqe.buf_index, 0);
}

TEST_F(OperationTest, CopyingIntoRegisteredPagesWritesTheLendersFile) {
  Lent lent(Direction::destination, 4096, 9, kSlotFile, uint64_t{1} << 41);
  const std::array<std::byte, 100> copy{};
  const io_uring_sqe sqe = sqe_of(lent.loan.view(1024, 100), copy_in_from(copy));
  EXPECT_EQ(sqe.opcode, IORING_OP_WRITE);
  EXPECT_EQ(sqe.fd, 7);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(sqe.off, (uint64_t{1} << 41) + 1024);
  EXPECT_EQ(sqe.addr, address_of(copy.data()));
}

TEST_F(OperationTest, SyncOfDataIsFdatasync) {
  const io_uring_sqe sqe =
      sqe_of([](Request& request) { return request.ring->sync(kSlotFile, true); });
  EXPECT_EQ(sqe.opcode, IORING_OP_FSYNC);
  EXPECT_EQ(sqe.fd, 7);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(sqe.fsync_flags, uint32_t{IORING_FSYNC_DATASYNC});
}

TEST_F(OperationTest, SyncOfAllIsFsync) {
  const io_uring_sqe sqe =
      sqe_of([](Request& request) { return request.ring->sync(kDescriptor, false); });
  EXPECT_EQ(sqe.opcode, IORING_OP_FSYNC);
  EXPECT_EQ(sqe.fsync_flags, 0U);
}

TEST_F(OperationTest, FallocateNamesModeAndRange) {
  const io_uring_sqe sqe = sqe_of([](Request& request) {
    return request.ring->fallocate(kDescriptor, 3, uint64_t{1} << 40, uint64_t{1} << 41);
  });
  EXPECT_EQ(sqe.opcode, IORING_OP_FALLOCATE);
  EXPECT_EQ(sqe.off, uint64_t{1} << 40);
  EXPECT_EQ(sqe.addr, uint64_t{1} << 41);
  EXPECT_EQ(sqe.len, 3U);
}

TEST_F(OperationTest, DiscardIsABlockCommandWithItsRange) {
  const io_uring_sqe sqe = sqe_of([](Request& request) {
    return request.ring->discard(kSlotFile, uint64_t{1} << 40, uint64_t{1} << 41);
  });
  EXPECT_EQ(sqe.opcode, IORING_OP_URING_CMD);
  EXPECT_EQ(sqe.cmd_op, abi::kBlockUringCmdDiscard);
  EXPECT_EQ(sqe.addr, uint64_t{1} << 40);
  EXPECT_EQ(sqe.addr3, uint64_t{1} << 41);
  EXPECT_EQ(sqe.flags, IOSQE_FIXED_FILE);
}

TEST_F(OperationTest, SleepIsATimeoutWhoseEndIsSuccess) {
  Started sleeping(
      ring_, [](Request& request) { return request.ring->sleep(std::chrono::milliseconds(2500)); });
  ring_.settle();
  const io_uring_sqe& sqe = ring_.sqe(0);
  EXPECT_EQ(sqe.opcode, IORING_OP_TIMEOUT);
  const auto& time = *reinterpret_cast<const __kernel_timespec*>(sqe.addr);
  EXPECT_EQ(time.tv_sec, 2);
  EXPECT_EQ(time.tv_nsec, 500'000'000);
  ring_.complete(0, -ETIME);
  EXPECT_EQ(sleeping.error(), 0);
}

TEST_F(OperationTest, ARawOperationIsSubmittedAsItIsAndReportsWhatCame) {
  class Raw {
   public:
    Task run(Request& request) {
      io_uring_sqe sqe{};
      sqe.opcode = IORING_OP_NOP;
      sqe.off = 77;
      RawOperation operation(*request.ring, sqe);
      result = co_await operation;
      co_return kOk;
    }
    int32_t result = 0;
  };
  Arena arena;
  Request request;
  request.ring = &ring_;
  request.arena = &arena;
  request.ready = &ring_.ready();
  Raw raw;
  const Task task = raw.run(request);
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_NOP);
  EXPECT_EQ(ring_.sqe(0).off, 77U);
  ring_.complete(0, -EXDEV);
  EXPECT_EQ(raw.result, -EXDEV);
}

}  // namespace
}  // namespace sluice::test
