// A piped READ shows exactly the filled bytes (P-8), short I/O is continued (P-9), copies work in
// both directions (P-14), and nothing is allocated once pipes have been made (P-20).
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "support/manual_ring.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"
#include "unit/ring/piped_lent.hpp"

namespace sluice::test {
namespace {

TEST(P08_Piped, WhatIsNotFilledIsNotCollected) {
  ManualRing ring;
  const Descriptor file = temporary_file(pattern(1000, 1));
  PipedLent lent(ring, 4096);
  const Started reading(ring, lent.loan.view(100, 3000), read_from(file_of(file), 0));
  ring.perform_all();
  EXPECT_EQ(reading.error(), ENODATA);
  EXPECT_EQ(lent.loan.filled_bytes(), 1000U);
  EXPECT_TRUE(lent.loan.filled({100, 1000}));
  EXPECT_FALSE(lent.loan.filled({99, 2}));
  EXPECT_FALSE(lent.loan.filled({1099, 2}));
  Status status;
  EXPECT_TRUE(lent.collected(&status).empty());
  EXPECT_EQ(status.error(), ENODATA);
}

TEST(P08_Piped, TheMissingRestIsZeroed) {
  ManualRing ring;
  const Descriptor file = temporary_file(pattern(1000, 1));
  PipedLent lent(ring, 200'000);
  const Started reading(ring, lent.loan.view(), read_from(file_of(file), 0));
  ring.perform_all();
  EXPECT_EQ(reading.error(), ENODATA);
  const Started zeroing(ring, lent.loan.view(reading.moved_bytes(), 199'000), zero_it());
  EXPECT_EQ(zeroing.error(), 0);
  Status status;
  const Bytes seen = lent.collected(&status);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(part(seen, 0, 1000), pattern(1000, 1));
  EXPECT_TRUE(all_are(part(seen, 1000, 199'000), 0));
  EXPECT_EQ(ring.counters().copied_bytes, 0U);
}

TEST(P08_Piped, FillsThatOverlapAreNotASumAndTheLaterOneCounts) {
  ManualRing ring;
  PipedLent lent(ring, 1000);
  const Bytes first = repeated(600, 1);
  const Bytes second = repeated(400, 2);
  const Bytes third = repeated(600, 3);
  const Started one(ring, lent.loan.view(0, 600), copy_in_from(first));
  const Started two(ring, lent.loan.view(200, 400), copy_in_from(second));
  EXPECT_EQ(lent.loan.filled_bytes(), 600U);
  const Started three(ring, lent.loan.view(400, 600), copy_in_from(third));
  const Bytes seen = lent.collected();
  ASSERT_EQ(seen.size(), 1000U);
  EXPECT_TRUE(all_are(part(seen, 0, 200), 1));
  EXPECT_TRUE(all_are(part(seen, 200, 200), 2));
  EXPECT_TRUE(all_are(part(seen, 400, 600), 3));
}

// A read of a file into pieces of the loan, in any order.
struct Reading {
  std::vector<Segment> pieces;
  uint64_t file_offset = 0;
};

// Random reads, short and failing, in any order, compared with bytes in memory.
TEST(P08_Piped, WhateverHappensTheBytesAreExact) {
  std::mt19937 random(42);
  const auto pick = [&random](uint32_t most) { return static_cast<uint32_t>(random()) % most; };
  const Bytes content = pattern(60'000, 1);
  const Descriptor file = temporary_file(content);
  for (int round = 0; round < 60; ++round) {
    ManualRing ring;
    Arena arena;
    PipedLent lent(ring, 20'000);
    const Started zeroing(ring, lent.loan.view(), zero_it());
    Bytes model(20'000);
    for (int i = 0; i < 8; ++i) {
      Reading wanted{.pieces = std::vector<Segment>(pick(4) + 1), .file_offset = pick(50'000)};
      for (Segment& piece : wanted.pieces) piece = {pick(17'000), pick(3000)};
      const Started reading(ring, lent.loan.view().select(wanted.pieces, arena),
                            read_from(file_of(file), wanted.file_offset));
      ring.settle();
      while (ring.pending() != 0) {
        if (pick(10) == 0) {
          ring.complete(0, pick(2) == 0 ? -EIO : -EINVAL);
        } else {
          ring.perform(0, pick(2500) + 1);
        }
      }
      uint64_t from = wanted.file_offset;
      uint32_t left = reading.moved_bytes();
      for (const Segment& piece : wanted.pieces) {
        const uint32_t count = std::min(left, piece.length);
        std::copy_n(content.begin() + static_cast<ptrdiff_t>(from), count,
                    model.begin() + piece.offset);
        from += count;
        left -= count;
      }
    }
    ASSERT_EQ(lent.collected(), model) << "round " << round;
  }
}

using P08_PipedOnKernelRing = OnKernelRing;

TEST_F(P08_PipedOnKernelRing, AFileAndASocketFillTheirParts) {
  const Descriptor file = temporary_file(pattern(100'000, 1));
  const Pair sockets = stream_sockets();
  PipedLent lent(ring(), 200'000);
  const Started receiving(ring(), lent.loan.view(100'000, 100'000),
                          recv_from(file_of(sockets.far)));
  const Started reading(ring(), lent.loan.view(0, 100'000), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), 0);
  const Bytes sent = pattern(100'000, 2);
  for (size_t done = 0; done < sent.size(); settle()) {
    const ssize_t count =
        send(sockets.near.number(), sent.data() + done, sent.size() - done, MSG_DONTWAIT);
    if (count > 0) done += static_cast<size_t>(count);
  }
  EXPECT_EQ(finish(receiving), 0);
  const Bytes seen = lent.collected();
  EXPECT_EQ(part(seen, 0, 100'000), pattern(100'000, 1));
  EXPECT_EQ(part(seen, 100'000, 100'000), sent);
  EXPECT_EQ(ring().counters().copied_bytes, 100'000U) << "for the socket only";
}

TEST(P09_Piped, ShortReadsAndWritesAreContinued) {
  ManualRing ring;
  const Bytes content = pattern(4096, 1);
  const Descriptor file = temporary_file(content);
  PipedLent destination(ring, 4096);
  const Started reading(ring, destination.loan.view(), read_from(file_of(file), 0));
  ring.settle();
  while (!reading.finished()) ring.perform(0, 100);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(destination.collected(), content);

  const Descriptor other = temporary_file();
  PipedLent source(ring, content);
  const Started writing(ring, source.loan.view(1, 4095), write_to(file_of(other), 7));
  ring.settle();
  for (int i = 0; i < 1000; ++i) ring.complete(0, -EINTR);
  while (!writing.finished()) ring.perform(0, 100);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(content_of(other, 4095, 7), part(content, 1, 4095));
}

TEST(P09_Piped, AtRequestLevelWithAViewOfTheRest) {
  ManualRing ring;
  const Bytes content = pattern(4096, 1);
  const Descriptor file = temporary_file(content);
  PipedLent lent(ring, 4096);
  const Started first(ring, lent.loan.view(), read_from(file_of(file), 0));
  ring.settle();
  ring.perform(0, 1000);
  ring.complete(0, -EIO);
  EXPECT_EQ(first.error(), EIO);
  const Started second(ring, lent.loan.view(first.moved_bytes(), 3096),
                       read_from(file_of(file), 1000));
  ring.perform_all();
  EXPECT_EQ(second.error(), 0);
  EXPECT_EQ(lent.collected(), content);
}

TEST(P14_Piped, OutOfAWriteBufferAtAnyOffset) {
  ManualRing ring;
  const Bytes content = pattern(100'000, 1);
  PipedLent lent(ring, content, 3);
  uint64_t copied = 0;
  for (const auto& [offset, length] :
       {Segment{0, 100'000}, Segment{1, 1}, Segment{1001, 2003}, Segment{99'999, 1}}) {
    Bytes copy(length);
    const Started copying(ring, lent.loan.view(offset, length), copy_out_to(copy));
    EXPECT_EQ(copying.error(), 0) << "at once";
    EXPECT_EQ(copy, part(content, offset, length));
    copied += length;
    EXPECT_EQ(ring.counters().copied_bytes, copied);
  }
  EXPECT_EQ(lent.held(), content);
}

TEST(P14_Piped, IntoAReadBufferAtAnyOffset) {
  ManualRing ring;
  PipedLent lent(ring, 100'000);
  const Started zeroing(ring, lent.loan.view(), zero_it());
  const Bytes copy = pattern(70'003, 1);
  const Started copying(ring, lent.loan.view(1001, 70'003), copy_in_from(copy));
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(ring.counters().copied_bytes, 70'003U);
  const Bytes seen = lent.collected();
  EXPECT_EQ(part(seen, 1001, 70'003), copy);
  EXPECT_TRUE(all_are(part(seen, 0, 1001), 0));
  EXPECT_TRUE(all_are(part(seen, 71'004, 28'996), 0));
}

// Serves one request repeatedly, with one loan and pipe, as a tag does.
class P20_Piped : public testing::Test, private Lender {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ring_.pipes().open(65536));
    auto made = ring_.pipes().make();
    ASSERT_TRUE(made);
    pipe_ = std::move(*made);
    ASSERT_EQ(write(pipe_.write_end.number(), pattern(65536, 1).data(), 65536), 65536);
  }

  void serve(Direction direction, const Started::Make& make) {
    View pages = loan_.lend_piped(*this, direction, 65536,
                                  direction == Direction::source ? &pipe_ : nullptr);
    {
      const Started started(ring_, std::move(pages), make);
      ring_.perform_all();
      EXPECT_EQ(started.error(), 0);
    }
    ring_.pipes().discard(loan_);
  }
  // The allocations of the second of two such requests, including those of the test.
  uint64_t allocations_of(Direction direction, const Started::Make& make) {
    serve(direction, make);
    const uint64_t before = allocations();
    serve(direction, make);
    return allocations() - before;
  }

  ManualRing ring_;
  Loan loan_;
  Pipe pipe_;

 private:
  void returned(Loan&) noexcept override {}
};

TEST_F(P20_Piped, OnceThereArePipesNothingIsAllocated) {
  const Descriptor file = temporary_file(pattern(65536, 1));
  const auto none = [](Request& request) { return request.ring->sleep(std::chrono::seconds(1)); };
  const auto writing = [&file](Request& request) {
    return request.ring->write(file_of(file), 0, request.data);
  };
  const auto reading = [&file](Request& request) {
    return request.ring->read(file_of(file), 0, request.data);
  };
  const uint64_t of_the_test = allocations_of(Direction::source, none);
  EXPECT_EQ(allocations_of(Direction::source, writing), of_the_test);
  EXPECT_EQ(allocations_of(Direction::destination, reading), of_the_test);
  EXPECT_LE(allocations_of(Direction::destination, zero_it()), of_the_test);
}

}  // namespace
}  // namespace sluice::test
