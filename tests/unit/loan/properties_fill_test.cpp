// A READ never shows unfilled bytes (P-8), and short I/O is continued at both levels (P-9).
//
// P-8 also requires that a completion that claims unfilled bytes is refused. Front ends do so: they
// call Loan::filled() before they commit. These tests check that filled() is exact for each byte.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>

#include "core/gather.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

constexpr uint8_t kPoison = 0xee;

// Every byte that filled() reports has its content, every other byte still has the poison value,
// which contents must not have.
void expect_exact(const Loan& loan, std::span<const std::byte> memory) {
  uint32_t filled = 0;
  for (uint32_t i = 0; i < loan.length(); ++i) {
    const bool changed = memory[i] != std::byte{kPoison};
    ASSERT_EQ(loan.filled({i, 1}), changed) << "byte " << i;
    filled += changed;
  }
  EXPECT_EQ(loan.filled_bytes(), filled);
  EXPECT_EQ(loan.filled({0, loan.length()}), filled == loan.length());
}

Bytes clean_pattern(size_t count, uint32_t seed) {
  Bytes bytes = pattern(count, seed);
  std::ranges::replace(bytes, std::byte{kPoison}, std::byte{1});
  return bytes;
}

// Reads from two files in turn, 512 bytes each: the parts of each file are one scattered view.
class Stripe {
 public:
  Stripe(File even, File odd) : files_{even, odd} {}

  Task submit(Request& request) {
    const uint32_t chunks = request.data.length() / 512;
    Gather children(request, 2);
    for (uint32_t leg = 0; leg < 2; ++leg) {
      const std::span<Segment> pieces = request.arena->array<Segment>(chunks / 2);
      for (uint32_t i = 0; i < pieces.size(); ++i) pieces[i] = {(2 * i + leg) * 512, 512};
      parts_[leg] = request.child(0, request.data.select(pieces, *request.arena));
      children.add(read(parts_[leg]));
    }
    const Status status = co_await children;
    for (Request& part : parts_) part.data.drop();
    co_return status;
  }

 private:
  Task read(Request& request) {
    auto reading = request.ring->read(files_[&request == parts_.data() ? 0 : 1], 0, request.data);
    const Status status = co_await reading;
    co_return status;
  }

  std::array<File, 2> files_;
  std::array<Request, 2> parts_;
};

// Reads a file that may end early, and zeroes the rest.
class ReadThenZero {
 public:
  explicit ReadThenZero(File file) : file_(file) {}

  Task submit(Request& request) {
    auto reading = request.ring->read(file_, request.offset, request.data);
    const Status status = co_await reading;
    if (status.error() != ENODATA) co_return status;
    const uint32_t done = reading.moved_bytes();
    auto zeroing =
        request.ring->zero(request.data.slice(done, request.data.length() - done, *request.arena));
    const Status zeroed = co_await zeroing;
    co_return zeroed;
  }

 private:
  File file_;
};

// Reads, and after a failure reads the rest again.
class Retry {
 public:
  Task submit(Request& request) {
    auto first = request.ring->read({.number = 5}, request.offset, request.data);
    const Status status = co_await first;
    if (status.ok()) co_return status;
    const uint32_t done = first.moved_bytes();
    View rest = request.data.slice(done, request.data.length() - done, *request.arena);
    auto second = request.ring->read({.number = 6}, request.offset + done, std::move(rest));
    const Status again = co_await second;
    co_return again;
  }
};

// A request for targets that are not operations.
struct FillTag {
  FillTag(Ring& ring, Loan& loan) {
    request.op = Op::read;
    request.length = loan.length();
    request.data = loan.view();
    request.ring = &ring;
    request.arena = &arena;
    request.ready = &ring.ready();
  }
  Arena arena;
  Request request;
};

TEST(P08_OnlyWhatWasFilledIsShown, BeforeAnythingNothingIs) {
  Bytes memory = repeated(4096, kPoison);
  Lent lent(Direction::destination, memory);
  expect_exact(lent.loan, memory);
}

TEST(P08_OnlyWhatWasFilledIsShown, AFileThatEndsEarlyFillsItsPart) {
  ManualRing ring;
  const Descriptor file = temporary_file(clean_pattern(1000, 1));
  Bytes memory = repeated(4096, kPoison);
  Lent lent(Direction::destination, memory);
  const Started reading(ring, lent.loan.view(100, 3000), read_from(file_of(file), 0));
  ring.perform_all();
  EXPECT_EQ(reading.error(), ENODATA);
  expect_exact(lent.loan, memory);
  EXPECT_EQ(lent.loan.filled_bytes(), 1000U);
}

TEST(P08_OnlyWhatWasFilledIsShown, ABufferReadFromTwoFilesMayBeShortInEach) {
  for (const auto& [even_bytes, odd_bytes] : {std::pair{4096U, 4096U}, std::pair{4096U, 700U},
                                              std::pair{1300U, 4096U}, std::pair{513U, 0U}}) {
    ManualRing ring;
    const Descriptor even = temporary_file(clean_pattern(even_bytes, 1));
    const Descriptor odd = temporary_file(clean_pattern(odd_bytes, 2));
    Bytes memory = repeated(8192, kPoison);
    Lent lent(Direction::destination, memory);
    FillTag tag(ring, lent.loan);
    Stripe stripe(file_of(even), file_of(odd));
    const Task task = stripe.submit(tag.request);
    ring.perform_all();
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(task.status().ok(), even_bytes == 4096 && odd_bytes == 4096);
    expect_exact(lent.loan, memory);
    EXPECT_EQ(lent.loan.filled_bytes(), even_bytes + odd_bytes);
  }
}

TEST(P08_OnlyWhatWasFilledIsShown, FillsThatOverlapAreNotASum) {
  ManualRing ring;
  Bytes memory = repeated(1000, kPoison);
  const Descriptor file = temporary_file(clean_pattern(1000, 1));
  Lent lent(Direction::destination, memory);
  const Started one(ring, lent.loan.view(0, 600), read_from(file_of(file), 0));
  const Started other(ring, lent.loan.view(200, 400), read_from(file_of(file), 0));
  ring.perform_all();
  EXPECT_EQ(lent.loan.filled_bytes(), 600U) << "600 + 400 bytes were read";
  EXPECT_FALSE(lent.loan.filled({0, 1000}));
}

TEST(P08_OnlyWhatWasFilledIsShown, TheMissingRestIsZeroedAndThenFilled) {
  ManualRing ring;
  const Descriptor file = temporary_file(clean_pattern(1000, 1));
  for (const bool addressable : {true, false}) {
    Bytes memory = repeated(4096, kPoison);
    ring.set_buffer(9, memory);
    std::optional<Lent> lent;
    if (addressable) {
      lent.emplace(Direction::destination, memory);
    } else {
      lent.emplace(Direction::destination, 4096, 9);
    }
    FillTag tag(ring, lent->loan);
    ReadThenZero target(file_of(file));
    const Task task = target.submit(tag.request);
    ring.perform_all();
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
    EXPECT_EQ(part(memory, 0, 1000), clean_pattern(1000, 1));
    EXPECT_TRUE(all_are(part(memory, 1000, 3096), 0));
    EXPECT_TRUE(lent->loan.filled({0, 4096}));
  }
}

TEST(P08_OnlyWhatWasFilledIsShown, WhateverHappensTheAccountIsExact) {
  std::mt19937 random(42);
  const auto pick = [&random](uint32_t most) { return static_cast<uint32_t>(random()) % most; };
  const Descriptor file = temporary_file(clean_pattern(3000, 1));
  for (int round = 0; round < 60; ++round) {
    ManualRing ring;
    Arena arena;
    Bytes memory = repeated(2000, kPoison);
    Lent lent(Direction::destination, memory);
    std::deque<Started> reads;
    for (int i = 0; i < 5; ++i) {
      std::vector<Segment> pieces(pick(4) + 1);
      for (Segment& piece : pieces) {
        piece.offset = pick(1900);
        piece.length = pick(100);
      }
      reads.emplace_back(ring, lent.loan.view().select(pieces, arena),
                         read_from(file_of(file), pick(3500)));
    }
    ring.settle();
    while (ring.pending() != 0) {
      const size_t index = pick(static_cast<uint32_t>(ring.pending()));
      if (pick(5) == 0) {
        ring.complete(index, -EIO);
      } else {
        ring.perform(index, pick(150) + 1);
      }
    }
    expect_exact(lent.loan, memory);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

using P08_OnlyWhatWasFilledIsShownOnKernelRing = OnKernelRing;

TEST_F(P08_OnlyWhatWasFilledIsShownOnKernelRing, ABufferReadFromTwoFilesMayBeShortInOne) {
  const Descriptor even = temporary_file(clean_pattern(4096, 1));
  const Descriptor odd = temporary_file(clean_pattern(1100, 2));
  Bytes memory = repeated(8192, kPoison);
  ASSERT_TRUE(ring().register_memory(0, memory));
  Lent lent(Direction::destination, memory, 0);
  FillTag tag(ring(), lent.loan);
  Stripe stripe(file_of(even), file_of(odd));
  const Task task = stripe.submit(tag.request);
  while (!task.finished()) ring().run_once(true);
  EXPECT_EQ(task.status().error(), ENODATA);
  expect_exact(lent.loan, memory);
  EXPECT_EQ(lent.loan.filled_bytes(), 4096U + 1100);
}

TEST(P09_PartialIoIsContinued, WithinTheOperationOnAFile) {
  ManualRing ring;
  const Bytes content = pattern(4096, 1);
  const Descriptor file = temporary_file(content);
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring, lent.loan.view(), read_from(file_of(file), 0));
  ring.settle();
  while (!reading.finished()) ring.perform(0, 100);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(memory, content);
}

TEST(P09_PartialIoIsContinued, WithinTheOperationOnASocket) {
  ManualRing ring;
  const Pair sockets = stream_sockets();
  Bytes memory = pattern(4096, 1);
  Lent lent(Direction::source, memory);
  const Started sending(ring, lent.loan.view(), send_to(file_of(sockets.near)));
  ring.settle();
  while (!sending.finished()) ring.perform(0, 100);
  EXPECT_EQ(sending.error(), 0);
  EXPECT_EQ(received_by(sockets.far), memory);
}

TEST(P09_PartialIoIsContinued, AtRequestLevelWithAViewOfTheRest) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  FillTag tag(ring, lent.loan);
  tag.request.offset = 65536;
  Retry retry;
  const Task task = retry.submit(tag.request);
  ring.settle();
  ring.complete(0, 1000);
  ring.complete(0, -EIO);
  ASSERT_EQ(ring.pending(), 1U);
  EXPECT_EQ(ring.sqe(0).fd, 6);
  EXPECT_EQ(ring.sqe(0).off, 65536U + 1000);
  EXPECT_EQ(ring.sqe(0).addr, reinterpret_cast<uint64_t>(memory.data()) + 1000);
  ring.complete(0, 3096);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
  EXPECT_TRUE(lent.loan.filled({0, 4096}));
}

// There is no limit on the number of attempts for the same bytes.
TEST(P09_PartialIoIsContinued, AsOftenAsItTakes) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring, lent.loan.view(), read_from({.number = 5}, 0));
  ring.settle();
  for (int i = 0; i < 1000; ++i) ring.complete(0, -EINTR);
  for (int i = 0; i < 4095; ++i) ring.complete(0, 1);
  EXPECT_FALSE(reading.finished());
  ring.complete(0, 1);
  EXPECT_EQ(reading.error(), 0);
}

}  // namespace
}  // namespace sluice::test
