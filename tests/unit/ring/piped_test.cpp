// Piped loans on both rings: I/O in any pieces, data that cannot be spliced, durability, and the
// pool.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <deque>

#include "support/manual_ring.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"
#include "unit/ring/piped_lent.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 200'000;

using Piped = OnKernelRing;

TEST_F(Piped, AWriteGoesToTheFileAndLeavesTheLendersPipe) {
  const Descriptor file = temporary_file();
  PipedLent lent(ring(), pattern(kBytes, 1));
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 5000));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, kBytes, 5000), pattern(kBytes, 1));
  EXPECT_EQ(lent.held(), pattern(kBytes, 1));
  EXPECT_EQ(ring().counters().copied_bytes, 0U);
}

TEST_F(Piped, AReadIsCollectedBehindAHeader) {
  const Descriptor file = temporary_file(pattern(kBytes, 1));
  PipedLent lent(ring(), kBytes - 77);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 77));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(lent.collected(), part(pattern(kBytes, 1), 77, kBytes - 77));
  EXPECT_EQ(ring().counters().copied_bytes, 0U);
}

TEST_F(Piped, PartsInAnyOrder) {
  const Descriptor file = temporary_file();
  const Bytes content = pattern(kBytes, 1);
  Arena arena;
  const std::array<Segment, 4> pieces{{{70'000, 9000}, {3, 60'001}, {100'000, 1}, {4096, 8192}}};
  Bytes expected;
  for (const Segment& piece : pieces) {
    const Bytes some = part(content, piece.offset, piece.length);
    expected.insert(expected.end(), some.begin(), some.end());
  }
  PipedLent source(ring(), content);
  const Started writing(ring(), source.loan.view().select(pieces, arena),
                        write_to(file_of(file), 1));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, expected.size(), 1), expected);

  PipedLent destination(ring(), kBytes);
  const Started zeroing(ring(), destination.loan.view(), zero_it());
  const Started reading(ring(), destination.loan.view().select(pieces, arena),
                        read_from(file_of(file), 1));
  EXPECT_EQ(finish(reading), 0);
  Bytes seen = Bytes(kBytes);
  for (const Segment& piece : pieces) {
    std::copy_n(content.begin() + piece.offset, piece.length, seen.begin() + piece.offset);
  }
  // The last piece lies inside the second, and was read later.
  EXPECT_EQ(destination.collected(), seen);
}

TEST_F(Piped, HundredsOfSmallPiecesAreOneReply) {
  const uint32_t count = 800;
  const Descriptor file = temporary_file(pattern(size_t{count} * 512, 1));
  Arena arena;
  PipedLent lent(ring(), count * 512);
  std::deque<Started> reads;
  for (uint32_t i = 0; i < count; ++i) {
    reads.emplace_back(ring(), lent.loan.view(i * 512, 512),
                       read_from(file_of(file), uint64_t{i} * 512));
    EXPECT_EQ(finish(reads.back()), 0);
  }
  reads.clear();
  Status status;
  EXPECT_EQ(lent.collected(&status), pattern(size_t{count} * 512, 1));
  EXPECT_TRUE(status.ok());
}

TEST_F(Piped, ADurableWriteIsSyncedBehindTheSplice) {
  const Descriptor file = temporary_file();
  PipedLent lent(ring(), pattern(kBytes, 1));
  const uint64_t before = ring().counters().submitted;
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 0, true));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, kBytes), pattern(kBytes, 1));
  EXPECT_EQ(ring().counters().submitted, before + 2);
}

TEST(PipedManually, ADurableWriteFailsWhereItsSyncFails) {
  ManualRing ring;
  PipedLent lent(ring, pattern(4096, 1));
  const Started writing(ring, lent.loan.view(), write_to({.number = 5}, 8192, true));
  ring.settle();
  ASSERT_EQ(ring.sqe(0).opcode, IORING_OP_SPLICE);
  ring.complete(0, 4096);
  ASSERT_EQ(ring.sqe(0).opcode, IORING_OP_FSYNC);
  EXPECT_EQ(ring.sqe(0).fsync_flags, uint32_t{IORING_FSYNC_DATASYNC});
  EXPECT_EQ(ring.sqe(0).off, 8192U);
  EXPECT_EQ(ring.sqe(0).len, 4096U);
  ring.complete(0, -EIO);
  EXPECT_EQ(writing.error(), EIO);
}

TEST(PipedManually, RegisteredFiles) {
  ManualRing ring;
  const Descriptor file = temporary_file(pattern(8192, 1));
  ring.set_file(3, file.number());
  const File registered{.number = 3, .registered = true};
  PipedLent destination(ring, 4096);
  const Started reading(ring, destination.loan.view(), read_from(registered, 4096));
  ring.perform_all();
  EXPECT_EQ(destination.collected(), part(pattern(8192, 1), 4096, 4096));
  PipedLent source(ring, pattern(4096, 2));
  const Started writing(ring, source.loan.view(), write_to(registered, 0, true));
  ring.perform_all();
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(content_of(file, 4096), pattern(4096, 2));
}

// O_DIRECT files need pages that are aligned for the device.
class PipedDirect : public OnKernelRing {
 protected:
  void SetUp() override {
    OnKernelRing::SetUp();
    try {
      file_ = temporary_file(pattern(65536, 9), O_DIRECT);
    } catch (const std::system_error&) {
      GTEST_SKIP() << "TMPDIR is on a file system without O_DIRECT";
    }
  }
  Bytes content() const {
    const std::string path = "/proc/self/fd/" + std::to_string(file_.number());
    return content_of(opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), 65536);
  }
  Descriptor file_;
};

TEST_F(PipedDirect, AlignedPagesAreNotCopied) {
  PipedLent lent(ring(), pattern(65536, 1));
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file_), 0));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content(), pattern(65536, 1));
  EXPECT_EQ(ring().counters().copied_bytes, 0U);
}

TEST_F(PipedDirect, PagesThatAreNotAlignedAreCopiedAndCounted) {
  for (const uint32_t page_offset : {8U, 511U, 4095U}) {
    const Bytes content = pattern(65536, page_offset);
    PipedLent lent(ring(), content, page_offset);
    const uint64_t before = ring().counters().copied_bytes;
    const Started writing(ring(), lent.loan.view(), write_to(file_of(file_), 0));
    EXPECT_EQ(finish(writing), 0);
    // With a file system that accepts them as they are, nothing is copied.
    const uint64_t copied = ring().counters().copied_bytes - before;
    EXPECT_TRUE(copied == 65536 || copied == 0) << copied;
    EXPECT_EQ(this->content(), content);
    PipedLent back(ring(), 65536);
    const Started reading(ring(), back.loan.view(), read_from(file_of(file_), 0));
    EXPECT_EQ(finish(reading), 0);
    EXPECT_EQ(back.collected(), content);
  }
}

TEST(PipedManually, WhatTheKernelRefusesToSpliceGoesThroughTheBounceBuffer) {
  ManualRing ring;
  const Descriptor file = temporary_file();
  PipedLent lent(ring, pattern(kBytes, 1));
  const Started writing(ring, lent.loan.view(), write_to(file_of(file), 0));
  ring.settle();
  ring.perform(0, 10'000);  // some bytes are sent
  ring.complete(0, -EINVAL);
  ASSERT_EQ(ring.sqe(0).opcode, IORING_OP_WRITE);
  while (!writing.finished()) ring.perform(0, 30'000);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(content_of(file, kBytes), pattern(kBytes, 1));
  EXPECT_EQ(ring.counters().copied_bytes, kBytes - 10'000U);
}

TEST(PipedManually, ReadsTooGoThroughTheBounceBuffer) {
  ManualRing ring;
  const Descriptor file = temporary_file(pattern(kBytes, 1));
  PipedLent lent(ring, kBytes);
  const Started reading(ring, lent.loan.view(), read_from(file_of(file), 0));
  ring.settle();
  ring.perform(0, 10'000);
  ring.complete(0, -EINVAL);
  ASSERT_EQ(ring.sqe(0).opcode, IORING_OP_READ);
  while (!reading.finished()) ring.perform(0, 30'000);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(lent.collected(), pattern(kBytes, 1));
  EXPECT_EQ(ring.counters().copied_bytes, kBytes - 10'000U);
}

TEST(PipedManually, AFullPipeIsKeptAndTheNextOneTaken) {
  ManualRing ring;
  const Descriptor file = temporary_file(pattern(kBytes, 1));
  PipedLent lent(ring, kBytes);
  const Started reading(ring, lent.loan.view(), read_from(file_of(file), 0));
  ring.settle();
  ring.perform(0, 10'000);
  ring.complete(0, -EAGAIN);
  ring.perform(0, 10'000);
  ring.complete(0, -EAGAIN);
  ring.perform_all();
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(lent.collected(), pattern(kBytes, 1));
}

// P-18 for pipes: a source waits for a spare, in order; a fill never does.
class PipePoolLimit : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ring_.pipes().open(65536, 2)); }
  ManualRing ring_;
  Descriptor file_ = temporary_file();
};

TEST_F(PipePoolLimit, SourcesWaitForASpareInTheirOrder) {
  PipedLent lent(ring_, pattern(4096, 1));
  std::deque<Started> writes;
  for (uint64_t i = 0; i < 20; ++i) {
    writes.emplace_back(ring_, lent.loan.view(), write_to(file_of(file_), i * 4096));
  }
  ring_.settle();
  for (uint64_t i = 0; i < 20; ++i) {
    ASSERT_EQ(ring_.pending(), std::min<size_t>(2, 20 - i));
    EXPECT_EQ(ring_.sqe(0).off, i * 4096);
    ring_.perform(0);
    EXPECT_EQ(writes[i].error(), 0);
  }
  for (off_t i = 0; i < 20; ++i) {
    EXPECT_EQ(content_of(file_, 4096, i * 4096), pattern(4096, 1));
  }
}

TEST_F(PipePoolLimit, OneThatWaitsCanBeCancelled) {
  PipedLent lent(ring_, pattern(4096, 1));
  std::deque<Started> writes;
  for (int i = 0; i < 3; ++i) {
    writes.emplace_back(ring_, lent.loan.view(), write_to(file_of(file_), 0));
  }
  ring_.settle();
  writes[2].cancel();
  ring_.perform_all();
  EXPECT_EQ(writes[2].error(), ECANCELED);
  EXPECT_EQ(writes[0].error(), 0);
}

TEST_F(PipePoolLimit, FillsDoNotWaitForEachOtherOrForSources) {
  PipedLent source(ring_, pattern(4096, 1));
  PipedLent destination(ring_, 40960);
  std::deque<Started> started;
  for (int i = 0; i < 3; ++i) {
    started.emplace_back(ring_, source.loan.view(), write_to(file_of(file_), 0));
  }
  for (uint32_t i = 0; i < 10; ++i) {
    started.emplace_back(ring_, destination.loan.view(i * 4096, 4096),
                         read_from(file_of(file_), 0));
  }
  ring_.settle();
  EXPECT_EQ(ring_.pending(), 12U);
  ring_.perform_all();
  for (const Started& one : started) EXPECT_EQ(one.error(), 0);
  EXPECT_EQ(part(destination.collected(), 36864, 4096), pattern(4096, 1));
}

// The kernel refuses to create more pipes.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(PipePoolLimit, WithoutMorePipesSourcesTakeTurnsAndFillsFail) {
  PipedLent source(ring_, pattern(4096, 1));
  PipedLent destination(ring_, 4096);
  const NoMoreDescriptors none;
  std::deque<Started> writes;
  for (int i = 0; i < 3; ++i) {
    writes.emplace_back(ring_, source.loan.view(), write_to(file_of(file_), 0));
  }
  const Started reading(ring_, destination.loan.view(), read_from(file_of(file_), 0));
  ring_.settle();
  EXPECT_EQ(reading.error(), EMFILE);
  EXPECT_EQ(ring_.pending(), 1U);
  ring_.perform_all();
  for (const Started& write : writes) EXPECT_EQ(write.error(), 0);
}

TEST(PipedManually, WithoutAPoolItIsRefused) {
  ManualRing lenders;
  ManualRing other;
  PipedLent lent(lenders, pattern(4096, 1));
  const Started writing(other, lent.loan.view(), write_to({.number = 5}, 0));
  EXPECT_EQ(writing.error(), EOPNOTSUPP);
}

}  // namespace
}  // namespace sluice::test
