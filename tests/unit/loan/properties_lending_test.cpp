// Properties of a loan as a whole: one handle, returned once, in time, and not before its last
// user ends.
//
// P-15, P-17 and P-19 concern drivers and servers: the ring teardown that aborts or requeues
// requests, the fallback if a driver cannot register a buffer, and the processes to which a driver
// lends. They are tested on devices, in tests/device. The part of P-15 that concerns user space is
// tested below: a destroyed ring writes no byte. P-20 is tests/unit/ring/steady_state_test.cpp;
// P-22 means that tests on the kernel's ring are skipped without one.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <set>

#include "ring/abi.hpp"
#include "ring/raw_operation.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

TEST(P01_BufferGranularLoan, ASubRangeHoldsTheWhole) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  View byte = lent.loan.view(4095, 1);
  lent.close();
  EXPECT_EQ(lent.returned_count(), 0);
  byte.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST(P01_BufferGranularLoan, NoPartIsReturnedBeforeTheRest) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  Arena arena;
  std::vector<View> pages(8);
  for (uint32_t i = 0; i < 8; ++i) pages[i] = lent.loan.view(i * 512, 512);
  lent.close();
  while (!pages.empty()) {
    EXPECT_EQ(lent.returned_count(), 0);
    pages.pop_back();
  }
  EXPECT_EQ(lent.returned_count(), 1) << "one return for eight parts";
}

TEST(P01_BufferGranularLoan, APartOfAPartHoldsTheWhole) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  Arena arena;
  std::optional<View> half = lent.loan.view(0, 2048);
  View quarter = half->slice(0, 1024, arena);
  half.reset();
  lent.close();
  EXPECT_EQ(lent.returned_count(), 0);
  quarter.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

// Every order of closing and of dropping three views.
TEST(P02_ReturnedOnceAndPromptly, WithTheLastReferenceInEveryOrder) {
  std::array<size_t, 4> order{0, 1, 2, 3};
  do {
    Bytes memory(4096);
    Lent lent(Direction::source, memory);
    std::array<View, 3> views{lent.loan.view(), lent.loan.view(0, 1), lent.loan.view(5, 500)};
    for (const size_t step : order) {
      ASSERT_EQ(lent.returned_count(), 0);
      if (step == 3) {
        lent.close();
      } else {
        views[step].drop();
      }
    }
    ASSERT_EQ(lent.returned_count(), 1);
  } while (std::ranges::next_permutation(order).found);
}

TEST(P02_ReturnedOnceAndPromptly, NotBehindUnrelatedIo) {
  ManualRing ring;
  Bytes memory(4096);
  Lent slow(Direction::source, memory);
  Lent fast(Direction::source, memory);
  const Started stuck(ring, slow.loan.view(), write_to(kManualFile, 0));  // submitted earlier
  const Started done(ring, fast.loan.view(), pass_on_to(kManualFile));
  fast.close();
  ring.settle();
  ring.complete(1, 4096);
  EXPECT_EQ(fast.returned_count(), 1);
  EXPECT_FALSE(stuck.finished());
  ring.complete(0, 4096);
}

TEST(P02_ReturnedOnceAndPromptly, InTheTurnOfTheLastCompletion) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started writing(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();
  ring.settle();
  ring.complete(0, 4000);
  EXPECT_EQ(lent.returned_count(), 0) << "96 bytes are still to be written";
  ring.complete(0, 96);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST(P02_ReturnedOnceAndPromptly, AlsoWhenAllOfItFailed) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started writing(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();
  ring.settle();
  ring.complete(0, -EIO);
  EXPECT_EQ(lent.returned_count(), 1);
}

// One opcode per operation, none of them a splice, and neither workers nor links.
TEST(P03_NoPipeInTheDataPath, EveryOperationIsOneOrdinarySubmission) {
  ManualRing ring;
  Bytes memory(4096);
  Lent source(Direction::source, 4096, 1);
  Lent destination(Direction::destination, 4096, 2);
  std::deque<Started> started;
  started.emplace_back(ring, source.loan.view(), write_to(kManualFile, 0));
  started.emplace_back(ring, destination.loan.view(), read_from(kManualFile, 0));
  started.emplace_back(ring, source.loan.view(), send_to(kManualFile));
  started.emplace_back(ring, source.loan.view(), send_zc_to(kManualFile));
  started.emplace_back(ring, destination.loan.view(), recv_from(kManualFile));
  started.emplace_back(ring, destination.loan.view(), zero_it());
  ring.settle();
  ASSERT_EQ(ring.pending(), started.size());
  const std::set<int> allowed{IORING_OP_WRITE_FIXED, IORING_OP_READ_FIXED, IORING_OP_SEND,
                              IORING_OP_SEND_ZC, IORING_OP_RECV};
  for (size_t i = 0; i < ring.pending(); ++i) {
    EXPECT_TRUE(allowed.contains(ring.sqe(i).opcode)) << int{ring.sqe(i).opcode};
    EXPECT_EQ(ring.sqe(i).flags & ~IOSQE_FIXED_FILE, 0) << "no IOSQE_ASYNC, no links";
  }
  while (ring.pending() != 0) ring.complete(0, 4096);
}

TEST(P03_NoPipeInTheDataPath, HundredsOfSegmentsAreOneSubmission) {
  ManualRing ring;
  Arena arena;
  Lent lent(Direction::source, 1 << 20, 1);
  std::vector<Segment> pieces(256);
  for (uint32_t i = 0; i < 256; ++i) pieces[i] = {i * 4096, 512};
  const Started writing(ring, lent.loan.view().select(pieces, arena), write_to(kManualFile, 0));
  ring.settle();
  EXPECT_EQ(ring.sqe(0).len, 256U);
  ring.complete(0, 256 * 512);
  EXPECT_EQ(writing.error(), 0);
}

// The server commits (closes) at any moment, also before its operations are done.
TEST(P04_CompletionWaitsForLastReference, InEveryOrderOfCommitAndCompletions) {
  std::array<size_t, 4> order{0, 1, 2, 3};  // 3: the commit
  do {
    ManualRing ring;
    Bytes memory(4096);
    Lent lent(Direction::source, memory);
    std::deque<Started> writes;
    for (int i = 0; i < 3; ++i)
      writes.emplace_back(ring, lent.loan.view(), pass_on_to(kManualFile));
    ring.settle();
    std::vector<size_t> pending{0, 1, 2};
    for (const size_t step : order) {
      ASSERT_EQ(lent.returned_count(), 0);
      if (step == 3) {
        lent.close();
        continue;
      }
      const auto place = std::ranges::find(pending, step);
      ring.complete(static_cast<size_t>(place - pending.begin()), 4096);
      pending.erase(place);
    }
    ASSERT_EQ(lent.returned_count(), 1);
  } while (std::ranges::next_permutation(order).found);
}

TEST(P04_CompletionWaitsForLastReference, AlsoWhereTheOperationStillWaitsForASubmission) {
  ManualRing ring(1, 1);
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started first(ring, lent.loan.view(), pass_on_to(kManualFile));
  const Started second(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();
  ring.settle();
  ring.complete(0, 4096);
  EXPECT_EQ(lent.returned_count(), 0);
  ring.complete(0, 4096);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST(P04_CompletionWaitsForLastReference, AMisbehavingServerGetsNoNewPages) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started writing(ring, lent.loan.view(), pass_on_to(kManualFile));
  ring.settle();
  lent.close();
  const Started late(ring, lent.loan.view(), write_to(kManualFile, 0));
  EXPECT_EQ(late.error(), EFAULT);
  EXPECT_EQ(ring.pending(), 1U);
  ring.complete(0, 4096);
  EXPECT_EQ(lent.returned_count(), 1);
}

using P04_CompletionWaitsForLastReferenceOnKernelRing = OnKernelRing;

TEST_F(P04_CompletionWaitsForLastReferenceOnKernelRing, WhileTheKernelHoldsThePages) {
  const Pair sockets = stream_sockets();
  Bytes memory(1000);
  Lent lent(Direction::destination, memory);
  const Started receiving(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->recv(file_of(sockets.far), std::move(request.data));
  });
  lent.close();
  settle();
  EXPECT_EQ(lent.returned_count(), 0);
  ASSERT_EQ(write(sockets.near.number(), pattern(1000, 1).data(), 1000), 1000);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(memory, pattern(1000, 1));
}

TEST(P12_LookupAtIssue, TheSubmissionIsMadeWhenThereIsRoomForIt) {
  ManualRing ring(1, 1);
  Lent first(Direction::source, 4096, 1);
  Lent second(Direction::source, 4096, 2);
  const Started one(ring, first.loan.view(), write_to(kManualFile, 0));
  const Started other(ring, second.loan.view(), write_to(kManualFile, 0));
  ring.settle();
  EXPECT_EQ(ring.sqe(0).buf_index, 1);
  ring.complete(0, 4096);
  EXPECT_EQ(ring.sqe(0).buf_index, 2);
  ring.complete(0, 4096);
}

using P12_LookupAtIssueOnKernelRing = OnKernelRing;

TEST_F(P12_LookupAtIssueOnKernelRing, ASlotMayBeFilledAfterTheOperationWasMade) {
  const Descriptor file = temporary_file(pattern(4096, 1));
  Bytes memory(4096);
  Lent lent(Direction::destination, memory, 0);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 0));
  ASSERT_TRUE(ring().register_memory(0, memory));  // the read is queued, but not yet issued
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(memory, pattern(4096, 1));
}

TEST_F(P12_LookupAtIssueOnKernelRing, AnOperationInFlightKeepsThePagesOfASlotThatWasEmptied) {
  const Pair pipe = pipe_ends();
  Bytes memory(100);
  ASSERT_TRUE(ring().register_memory(0, memory));
  Lent lent(Direction::destination, memory, 0);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(pipe.near), 0));
  settle();
  ASSERT_TRUE(ring().register_memory(0, {}));
  ASSERT_EQ(write(pipe.far.number(), pattern(100, 1).data(), 100), 100);
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(memory, pattern(100, 1));
}

using P15_AfterTheRingIsGone = OnKernelRing;

TEST_F(P15_AfterTheRingIsGone, NoByteOfALentBufferIsWritten) {
  for (const bool fixed : {false, true}) {
    auto ring = KernelRing::create({.slots = 1});
    ASSERT_TRUE(ring);
    const Pair pipe = pipe_ends();
    Bytes memory = repeated(100, 0xee);
    ASSERT_TRUE((*ring)->register_memory(0, memory));
    io_uring_sqe sqe{};
    io_uring_prep_read(&sqe, pipe.near.number(), memory.data(), 100, 0);
    if (fixed) sqe.opcode = IORING_OP_READ_FIXED;
    RawOperation parked(**ring, sqe);
    (*ring)->submit(parked);
    for (int i = 0; i < 5; ++i) (*ring)->run_once(false);
    ring->reset();
    ASSERT_EQ(write(pipe.far.number(), pattern(100, 1).data(), 100), 100);
    usleep(20'000);
    EXPECT_TRUE(all_are(memory, 0xee)) << (fixed ? "in a slot" : "by address");
  }
}

}  // namespace
}  // namespace sluice::test
