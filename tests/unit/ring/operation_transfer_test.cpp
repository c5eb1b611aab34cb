// How an operation handles each result: it continues until all bytes have been moved, or ends with
// an errno.
#include <gtest/gtest.h>

#include <array>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class TransferTest : public testing::Test {
 protected:
  ManualRing ring_;
  std::array<std::byte, 4096> memory_{};
  Lent source_{Direction::source, memory_};
  Lent destination_{Direction::destination, memory_};
};

TEST_F(TransferTest, AllBytesAtOnceEndIt) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 4096));
  ring_.settle();
  EXPECT_FALSE(reading.finished());
  ring_.complete(0, 4096);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(reading.moved_bytes(), 4096U);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(TransferTest, AShortReadGoesOnWhereItStopped) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 4096));
  ring_.settle();
  ring_.complete(0, 1000);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).off, 4096U + 1000);
  EXPECT_EQ(ring_.sqe(0).len, 3096U);
  EXPECT_EQ(ring_.sqe(0).addr, address_of(&memory_[1000]));
  EXPECT_FALSE(reading.finished());
  ring_.complete(0, 3096);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(TransferTest, ADiskWithABadSectorIsNoFileThatEnds) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 4096));
  ring_.settle();
  ring_.complete(0, -ENODATA);
  EXPECT_EQ(reading.error(), EIO);
}

TEST_F(TransferTest, AShortWriteGoesOnWhereItStoppedAndStaysDurable) {
  Started writing(ring_, source_.loan.view(), write_to(kManualFile, 4096, true));
  ring_.settle();
  ring_.complete(0, 512);
  EXPECT_EQ(ring_.sqe(0).off, 4096U + 512);
  EXPECT_EQ(ring_.sqe(0).addr, address_of(&memory_[512]));
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  ring_.complete(0, 3584);
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(TransferTest, AShortFixedReadGoesOnInItsSlot) {
  Lent lent(Direction::destination, 4096, 9);
  Started reading(ring_, lent.loan.view(1024, 2048), read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 512);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(ring_.sqe(0).buf_index, 9);
  EXPECT_EQ(ring_.sqe(0).addr, 1536U);
  EXPECT_EQ(ring_.sqe(0).off, 512U);
  ring_.complete(0, 1536);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(TransferTest, ManyShortResultsAddUp) {
  Started writing(ring_, source_.loan.view(), write_to(kManualFile, 0));
  ring_.settle();
  for (uint64_t moved = 0; moved < 4096; ++moved) {
    ASSERT_EQ(ring_.sqe(0).off, moved);
    ring_.complete(0, 1);
  }
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(TransferTest, AnInterruptedTransferIsRepeatedAsItWas) {
  Started writing(ring_, source_.loan.view(), write_to(kManualFile, 4096));
  ring_.settle();
  ring_.complete(0, 96);
  const io_uring_sqe before = ring_.sqe(0);
  ring_.complete(0, -EINTR);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).off, before.off);
  EXPECT_EQ(ring_.sqe(0).addr, before.addr);
  EXPECT_EQ(ring_.sqe(0).len, before.len);
  ring_.complete(0, 4000);
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(TransferTest, AnInterruptedSyncIsRepeated) {
  Started syncing(ring_, [](Request& request) { return request.ring->sync(kManualFile, true); });
  ring_.settle();
  ring_.complete(0, -EINTR);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_FSYNC);
  ring_.complete(0, 0);
  EXPECT_EQ(syncing.error(), 0);
}

TEST_F(TransferTest, AnErrorEndsIt) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, -EIO);
  EXPECT_EQ(reading.error(), EIO);
  EXPECT_EQ(reading.moved_bytes(), 0U);
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(TransferTest, AnErrorAfterAShortResultEndsItAndTellsHowMuchWasMoved) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 1000);
  ring_.complete(0, -EIO);
  EXPECT_EQ(reading.error(), EIO);
  EXPECT_EQ(reading.moved_bytes(), 1000U);
}

TEST_F(TransferTest, TheErrorOfASyncIsReported) {
  Started syncing(ring_, [](Request& request) { return request.ring->sync(kManualFile, true); });
  ring_.settle();
  ring_.complete(0, -EDQUOT);
  EXPECT_EQ(syncing.error(), EDQUOT);
}

TEST_F(TransferTest, TheEndOfAFileIsNoData) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 512);
  ring_.complete(0, 0);
  EXPECT_EQ(reading.error(), ENODATA);
  EXPECT_EQ(reading.moved_bytes(), 512U);
  EXPECT_EQ(destination_.loan.filled_bytes(), 512U);
}

TEST_F(TransferTest, AWriteOfNothingIsNoSpace) {
  Started writing(ring_, source_.loan.view(), write_to(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 512);
  ring_.complete(0, 0);
  EXPECT_EQ(writing.error(), ENOSPC);
}

TEST_F(TransferTest, TheEndOfAStreamIsAReset) {
  Started receiving(ring_, destination_.loan.view(), recv_from(kManualFile));
  ring_.settle();
  ring_.complete(0, 512);
  EXPECT_EQ(ring_.sqe(0).addr, address_of(&memory_[512]));
  EXPECT_EQ(ring_.sqe(0).len, 3584U);
  ring_.complete(0, 0);
  EXPECT_EQ(receiving.error(), ECONNRESET);
}

TEST_F(TransferTest, AShortSendGoesOn) {
  Started sending(ring_, source_.loan.view(), send_to(kManualFile));
  ring_.settle();
  ring_.complete(0, 4000);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_SEND);
  EXPECT_EQ(ring_.sqe(0).addr, address_of(&memory_[4000]));
  EXPECT_EQ(ring_.sqe(0).len, 96U);
  EXPECT_EQ(ring_.sqe(0).off, 0U) << "a socket has no offset";
  ring_.complete(0, 96);
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(TransferTest, OnlyWhatWasFilledIsAccountedFor) {
  Started reading(ring_, destination_.loan.view(1024, 1024), read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(destination_.loan.filled_bytes(), 0U);
  ring_.complete(0, 100);
  EXPECT_TRUE(destination_.loan.filled({1024, 100}));
  EXPECT_FALSE(destination_.loan.filled({1024, 101}));
  ring_.complete(0, -EIO);
  EXPECT_EQ(destination_.loan.filled_bytes(), 100U);
}

TEST_F(TransferTest, AWriteFillsNothing) {
  Started writing(ring_, source_.loan.view(), write_to(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 4096);
  EXPECT_EQ(source_.loan.filled_bytes(), 0U);
}

TEST_F(TransferTest, AnEmptyTransferSucceedsWithoutTheKernel) {
  Started reading(ring_, destination_.loan.view(100, 0), read_from(kManualFile, 0));
  Started writing(ring_, source_.loan.view(4096, 0), write_to(kManualFile, 0));
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(ring_.counters().submitted, 0U);
}

TEST_F(TransferTest, APartOfAViewIsAnOperationOfItsOwn) {
  Started reading(ring_, destination_.loan.view(), [](Request& request) {
    return request.ring->read(kManualFile, 512, request.data.slice(512, 512, *request.arena));
  });
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).addr, address_of(&memory_[512]));
  EXPECT_EQ(ring_.sqe(0).len, 512U);
  ring_.complete(0, 512);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(destination_.loan.filled_bytes(), 512U);
}

// The kernel moves at most 0x7ffff000 bytes in one operation, and refuses a longer one on
// registered pages (S118) where it would cut a plain one short.
TEST_F(TransferTest, MoreThanTheKernelMovesAtOnceIsSeveralOperations) {
  constexpr uint32_t kMost = 0x7ffff000;
  Lent lent(Direction::source, 3U << 30, 9);
  Started writing(ring_, lent.loan.view(), write_to(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).len, kMost);
  ring_.complete(0, static_cast<int32_t>(kMost));
  EXPECT_EQ(ring_.sqe(0).addr, kMost);
  EXPECT_EQ(ring_.sqe(0).off, kMost);
  EXPECT_EQ(ring_.sqe(0).len, (3U << 30) - kMost);
  ring_.complete(0, static_cast<int32_t>((3U << 30) - kMost));
  EXPECT_EQ(writing.error(), 0);
}

}  // namespace
}  // namespace sluice::test
