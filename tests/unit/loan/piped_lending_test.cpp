// The properties of piped loans as a whole, of their direction and bounds, and of several
// consumers: P-1, P-2, P-4 to P-7, P-10, P-11, P-13, P-15, P-16. Fills and copies:
// piped_fill_test.cpp.
//
// P-3 (no pipe) and P-12 (a table of buffers) are about other kinds.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <thread>

#include "support/manual_ring.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"
#include "unit/ring/piped_lent.hpp"

namespace sluice::test {
namespace {

TEST(P01_Piped, ASubRangeHoldsTheWhole) {
  ManualRing ring;
  PipedLent lent(ring, pattern(4096, 1));
  Arena arena;
  View half = lent.loan.view(0, 2048);
  View byte = half.slice(2047, 1, arena);
  half.drop();
  lent.close();
  EXPECT_EQ(lent.returned_count(), 0);
  byte.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST(P02_Piped, NotBehindUnrelatedIoAndAlsoWhenAllOfItFailed) {
  ManualRing ring;
  PipedLent slow(ring, pattern(4096, 1));
  PipedLent fast(ring, pattern(4096, 1));
  const Started stuck(ring, slow.loan.view(), write_to(kManualFile, 0));
  const Started failed(ring, fast.loan.view(), pass_on_to(kManualFile));
  fast.close();
  ring.settle();
  ring.complete(1, -EIO);
  EXPECT_EQ(failed.error(), EIO);
  EXPECT_EQ(fast.returned_count(), 1);
  ring.complete(0, 4096);
}

// The server commits (closes) at any moment, also before its operations are done; results are
// short.
TEST(P04_Piped, ReturnedAfterCommitAndAllCompletionsInEveryOrder) {
  std::array<size_t, 4> order{0, 1, 2, 3};  // 3: the commit
  do {
    ManualRing ring;
    PipedLent lent(ring, pattern(4096, 1));
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
      const auto index = static_cast<size_t>(place - pending.begin());
      ring.complete(index, 1000);
      ASSERT_EQ(lent.returned_count(), 0) << "3096 bytes are still to be written";
      pending.erase(place);
      pending.push_back(step);  // the rest was submitted again
      ring.complete(pending.size() - 1, 3096);
      pending.pop_back();
    }
    ASSERT_EQ(lent.returned_count(), 1);
  } while (std::ranges::next_permutation(order).found);
}

TEST(P04_Piped, WaitsForAnOperationThatWaitsForAPipe) {
  ManualRing ring;
  ASSERT_TRUE(ring.pipes().open(65536, 1));
  PipedLent lent(ring, pattern(4096, 1));
  const Started first(ring, lent.loan.view(), pass_on_to(kManualFile));
  const Started second(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();
  ring.settle();
  ring.complete(0, 4096);
  EXPECT_EQ(lent.returned_count(), 0);
  ring.complete(0, 4096);
  EXPECT_EQ(lent.returned_count(), 1);
  const Started late(ring, lent.loan.view(), write_to(kManualFile, 0));
  EXPECT_EQ(late.error(), EFAULT);
}

using P05_Piped = OnKernelRing;

TEST_F(P05_Piped, NothingGoesIntoAWriteBuffer) {
  const Descriptor file = temporary_file(repeated(1000, 0xaa));
  const Pair sockets = stream_sockets();
  ASSERT_EQ(write(sockets.near.number(), repeated(1000, 0xaa).data(), 1000), 1000);
  const Bytes memory = repeated(1000, 0xaa);
  PipedLent lent(ring(), pattern(1000, 1));
  for (const Started::Make& make : {read_from(file_of(file), 0), recv_from(file_of(sockets.far)),
                                    zero_it(), copy_in_from(memory)}) {
    const Started refused(ring(), lent.loan.view(), make);
    EXPECT_EQ(refused.error(), EACCES);
  }
  settle();
  EXPECT_EQ(lent.held(), pattern(1000, 1));
  EXPECT_EQ(received_by(sockets.far).size(), 1000U) << "still there for who may have it";
}

TEST_F(P05_Piped, NothingComesOutOfAReadBuffer) {
  const Descriptor file = temporary_file();
  const Descriptor full = temporary_file(pattern(1000, 1));
  const Pair sockets = stream_sockets();
  Bytes memory = repeated(1000, 0xee);
  PipedLent lent(ring(), 1000);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(full), 0));
  EXPECT_EQ(finish(reading), 0);
  for (const Started::Make& make : {write_to(file_of(file), 0), send_to(file_of(sockets.near)),
                                    send_zc_to(file_of(sockets.near)), copy_out_to(memory)}) {
    const Started refused(ring(), lent.loan.view(), make);
    EXPECT_EQ(refused.error(), EACCES);
  }
  settle();
  EXPECT_TRUE(content_of(file, 1000).empty());
  EXPECT_TRUE(received_by(sockets.far).empty());
  EXPECT_TRUE(all_are(memory, 0xee));
  EXPECT_EQ(lent.collected(), pattern(1000, 1));
}

using P06_Piped = OnKernelRing;

TEST_F(P06_Piped, OverlappingSourceViewsAreWrittenAtTheSameTime) {
  const Descriptor file = temporary_file();
  const Bytes content = pattern(100'000, 1);
  PipedLent lent(ring(), content, 100);
  const Started first(ring(), lent.loan.view(0, 70'000), write_to(file_of(file), 0));
  const Started second(ring(), lent.loan.view(1000, 99'000), write_to(file_of(file), 100'000));
  const Started third(ring(), lent.loan.view(), write_to(file_of(file), 200'000));
  EXPECT_EQ(finish(first), 0);
  EXPECT_EQ(finish(second), 0);
  EXPECT_EQ(finish(third), 0);
  EXPECT_EQ(content_of(file, 70'000, 0), part(content, 0, 70'000));
  EXPECT_EQ(content_of(file, 99'000, 100'000), part(content, 1000, 99'000));
  EXPECT_EQ(content_of(file, 100'000, 200'000), content);
}

TEST_F(P06_Piped, AnySizeAtAnyOffset) {
  const Bytes content = pattern(8192, 1);
  for (const auto& [offset, length] :
       {Segment{0, 1}, Segment{1, 1}, Segment{511, 513}, Segment{8191, 1}, Segment{0, 8192},
        Segment{8192, 0}, Segment{4095, 2}, Segment{1, 8191}}) {
    const Descriptor file = temporary_file();
    PipedLent source(ring(), content, 700);
    const Started writing(ring(), source.loan.view(offset, length), write_to(file_of(file), 0));
    ASSERT_EQ(finish(writing), 0);
    EXPECT_EQ(content_of(file, 8192), part(content, offset, length));

    PipedLent destination(ring(), 8192);
    const Started zeroing(ring(), destination.loan.view(), zero_it());
    const Started reading(ring(), destination.loan.view(offset, length),
                          read_from(file_of(file), 0));
    ASSERT_EQ(finish(reading), 0);
    Bytes expected(8192);
    std::copy_n(content.begin() + offset, length, expected.begin() + offset);
    EXPECT_EQ(destination.collected(), expected);
  }
}

TEST_F(P06_Piped, TooLongOnesHaveNoEffect) {
  const Descriptor file = temporary_file();
  for (const auto& [offset, length] : {Segment{0, 4097}, Segment{4096, 1}, Segment{1, UINT32_MAX},
                                       Segment{UINT32_MAX, 1}, Segment{1U << 31, 1U << 31}}) {
    PipedLent lent(ring(), pattern(4096, 1));
    const Started writing(ring(), lent.loan.view(offset, length), write_to(file_of(file), 0));
    EXPECT_EQ(writing.error(), EFAULT) << offset << ", " << length;
    settle();
    EXPECT_TRUE(content_of(file, 100).empty());
  }
}

using P07_Piped = OnKernelRing;

TEST_F(P07_Piped, TwoFilesAndASocketGetTheSameBuffer) {
  const Descriptor first = temporary_file();
  const Descriptor second = temporary_file();
  const Pair sockets = stream_sockets();
  const Bytes content = pattern(300'000, 1);
  PipedLent lent(ring(), content);
  const Started left(ring(), lent.loan.view(), pass_on_to(file_of(first)));
  const Started right(ring(), lent.loan.view(), pass_on_to(file_of(second), 4096));
  const Started third(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->send(file_of(sockets.near), std::move(request.data));
  });
  lent.close();
  EXPECT_EQ(finish(left), 0);
  EXPECT_EQ(finish(right), 0);
  EXPECT_EQ(lent.returned_count(), 0) << "the socket is full";
  Bytes got;
  while (got.size() < content.size()) {
    const Bytes some = received_by(sockets.far);
    got.insert(got.end(), some.begin(), some.end());
    settle();
  }
  EXPECT_EQ(finish(third), 0);
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(content_of(first, 300'000), content);
  EXPECT_EQ(content_of(second, 300'000, 4096), content);
  EXPECT_EQ(got, content);
  EXPECT_EQ(ring().counters().copied_bytes, 300'000U) << "for the socket only";
}

TEST_F(P07_Piped, OneThatFailsDoesNotDisturbTheOthers) {
  const Descriptor file = temporary_file();
  const Descriptor full = opened(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  PipedLent lent(ring(), pattern(4096, 1));
  const Started bad(ring(), lent.loan.view(), pass_on_to(file_of(full)));
  const Started good(ring(), lent.loan.view(), pass_on_to(file_of(file)));
  lent.close();
  EXPECT_EQ(finish(bad), ENOSPC);
  EXPECT_EQ(finish(good), 0);
  EXPECT_EQ(content_of(file, 4096), pattern(4096, 1));
  EXPECT_EQ(lent.returned_count(), 1);
}

using P10_Piped = OnKernelRing;

TEST_F(P10_Piped, ParkedOperationsAreCancelledAndGiveTheirReferenceBack) {
  const Pair sockets = stream_sockets();
  PipedLent lent(ring(), 100);
  Started receiving(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->recv(file_of(sockets.far), std::move(request.data));
  });
  lent.close();
  settle();
  EXPECT_EQ(lent.loan.references(), 1U);
  receiving.cancel();
  EXPECT_EQ(finish(receiving), ECANCELED);
  EXPECT_EQ(lent.returned_count(), 1);
  ASSERT_EQ(write(sockets.near.number(), pattern(100, 1).data(), 100), 100);
  settle();
  Status status;
  EXPECT_TRUE(lent.collected(&status).empty()) << "no byte after it was returned";
  EXPECT_EQ(status.error(), ENODATA);
}

// Bytes that a socket has not delivered yet must not change with the client's pages.
TEST_F(P10_Piped, ASentByteStaysAsItWasWhenTheLoanIsBack) {
  const Pair sockets = stream_sockets();
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(4096, 8192));
  std::fill_n(memory, 8192, std::byte{1});
  PipedLent lent(ring(), std::span(memory, 8192));
  const Started sending(ring(), lent.loan.view(), send_to(file_of(sockets.near)));
  EXPECT_EQ(finish(sending), 0);
  std::fill_n(memory, 8192, std::byte{2});
  const Bytes got = received_by(sockets.far);
  EXPECT_EQ(got.size(), 8192U);
  EXPECT_TRUE(all_are(got, 1));
  std::free(memory);
}

TEST(P11_Piped, SubmissionsAreInTheOrderInWhichTheyWereAwaited) {
  ManualRing ring;
  PipedLent lent(ring, pattern(4096, 1));
  std::deque<Started> writes;
  for (uint64_t i = 0; i < 30; ++i)
    writes.emplace_back(ring, lent.loan.view(), write_to(kManualFile, i));
  ring.settle();
  for (uint64_t i = 0; i < 30; ++i) {
    EXPECT_EQ(ring.sqe(0).off, i) << "more than there are pipes";
    ring.complete(0, 4096);
  }
}

using P13_Piped = OnKernelRing;

TEST_F(P13_Piped, AFewBytesOfAWriteAreLookedAtAndItGoesOn) {
  const Descriptor file = temporary_file();
  PipedLent lent(ring(), pattern(4096, 1));
  Bytes head(4);
  const Started looking(ring(), lent.loan.view(100, 4), copy_out_to(head));
  EXPECT_EQ(looking.error(), 0);
  EXPECT_EQ(head, part(pattern(4096, 1), 100, 4));
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 0));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, 4096), pattern(4096, 1));
}

using P15_Piped = OnKernelRing;

TEST_F(P15_Piped, AfterTheRingIsGoneNothingIsTakenOut) {
  auto ring = KernelRing::create({});
  ASSERT_TRUE(ring);
  const Pair sockets = stream_sockets();
  {
    PipedLent lent(**ring, 100);
    Started receiving(**ring, lent.loan.view(), recv_from(file_of(sockets.far)));
    for (int i = 0; i < 5; ++i) (*ring)->run_once(false);
    receiving.cancel();
    while (!receiving.finished()) (*ring)->run_once(true);
  }
  ring->reset();
  ASSERT_EQ(write(sockets.near.number(), pattern(100, 1).data(), 100), 100);
  EXPECT_EQ(received_by(sockets.far), pattern(100, 1));
}

TEST(P16_Piped, ViewsAreTakenAndDroppedByAnyThread) {
  ManualRing ring;
  PipedLent lent(ring, pattern(4096, 1));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&lent] {
      for (int round = 0; round < 1000; ++round) const View view = lent.loan.view(1, 100);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lent.loan.references(), 1U);
  lent.close();
  EXPECT_EQ(lent.returned_count(), 1);
}

}  // namespace
}  // namespace sluice::test
