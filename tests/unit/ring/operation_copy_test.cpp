// The explicit copy path between lent pages and memory of the server.
#include <gtest/gtest.h>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class CopyTest : public testing::Test {
 protected:
  // Registered pages as ublk lends them: no address, bytes through a file at a packed position.
  static constexpr uint64_t kPosition = 1 << 16;

  ManualRing ring_;
  Arena arena_;
  Bytes memory_ = pattern(4096, 1);
  Lent source_{Direction::source, memory_};
  Lent destination_{Direction::destination, memory_};
  Descriptor pages_ = temporary_file(repeated(kPosition + 4096, 0));
  Lent registered_source_{Direction::source, 4096, 9, file_of(pages_), kPosition};
  Lent registered_destination_{Direction::destination, 4096, 9, file_of(pages_), kPosition};
  const std::vector<Segment> pieces_{{3000, 100}, {10, 20}, {500, 1}};
};

TEST_F(CopyTest, OutOfMemoryNeedsNoKernel) {
  Bytes copy(100);
  const Started copying(ring_, source_.loan.view(50, 100), copy_out_to(copy));
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(copying.moved_bytes(), 100U);
  EXPECT_EQ(copy, part(memory_, 50, 100));
  EXPECT_EQ(ring_.counters().submitted, 0U);
}

TEST_F(CopyTest, IntoMemoryChangesExactlyItsRange) {
  const Bytes before = memory_;
  const Started copying(ring_, destination_.loan.view(50, 100), copy_in_from(repeated(100, 7)));
  EXPECT_EQ(copying.error(), 0);
  EXPECT_TRUE(all_are(part(memory_, 50, 100), 7));
  EXPECT_EQ(part(memory_, 0, 50), part(before, 0, 50));
  EXPECT_EQ(part(memory_, 150, 3946), part(before, 150, 3946));
}

TEST_F(CopyTest, IntoMemoryFillsItsRange) {
  const Started copying(ring_, destination_.loan.view(50, 100), copy_in_from(repeated(100, 7)));
  EXPECT_TRUE(destination_.loan.filled({50, 100}));
  EXPECT_EQ(destination_.loan.filled_bytes(), 100U);
}

TEST_F(CopyTest, ZeroingMemoryFillsItAndIsNoCopy) {
  const Started zeroing(ring_, destination_.loan.view(50, 100), zero_it());
  EXPECT_EQ(zeroing.error(), 0);
  EXPECT_TRUE(all_are(part(memory_, 50, 100), 0));
  EXPECT_TRUE(destination_.loan.filled({50, 100}));
  EXPECT_EQ(ring_.counters().copied_bytes, 0U);
  EXPECT_EQ(ring_.counters().submitted, 0U);
}

TEST_F(CopyTest, PiecesAreCopiedOutInTheirOrder) {
  Bytes copy(121);
  const Started copying(ring_, source_.loan.view().select(pieces_, arena_), copy_out_to(copy));
  EXPECT_EQ(copying.error(), 0);
  Bytes expected = part(memory_, 3000, 100);
  for (const auto& [offset, length] : {Segment{10, 20}, Segment{500, 1}}) {
    expected.insert(expected.end(), memory_.begin() + offset, memory_.begin() + offset + length);
  }
  EXPECT_EQ(copy, expected);
}

TEST_F(CopyTest, PiecesAreCopiedInInTheirOrder) {
  const Bytes copy = pattern(121, 2);
  const Started copying(ring_, destination_.loan.view().select(pieces_, arena_),
                        copy_in_from(copy));
  EXPECT_EQ(part(memory_, 3000, 100), part(copy, 0, 100));
  EXPECT_EQ(part(memory_, 10, 20), part(copy, 100, 20));
  EXPECT_EQ(memory_[500], copy[120]);
  EXPECT_EQ(destination_.loan.filled_bytes(), 121U);
}

TEST_F(CopyTest, PiecesAreZeroed) {
  const Started zeroing(ring_, destination_.loan.view().select(pieces_, arena_), zero_it());
  EXPECT_TRUE(all_are(part(memory_, 3000, 100), 0));
  EXPECT_TRUE(all_are(part(memory_, 10, 20), 0));
  EXPECT_EQ(destination_.loan.filled_bytes(), 121U);
}

TEST_F(CopyTest, CopiedBytesAreCounted) {
  Bytes copy(100);
  const Started out(ring_, source_.loan.view(0, 100), copy_out_to(copy));
  EXPECT_EQ(ring_.counters().copied_bytes, 100U);
  const Started in(ring_, destination_.loan.view(0, 60), copy_in_from(std::span(copy).first(60)));
  EXPECT_EQ(ring_.counters().copied_bytes, 160U);
}

TEST_F(CopyTest, OutOfRegisteredPagesGoesThroughTheLendersFile) {
  const Bytes content = pattern(4096, 3);
  ASSERT_EQ(pwrite(pages_.number(), content.data(), 4096, kPosition), 4096);
  Bytes copy(121);
  const Started copying(ring_, registered_source_.loan.view().select(pieces_, arena_),
                        copy_out_to(copy));
  ring_.perform_all();
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(part(copy, 0, 100), part(content, 3000, 100));
  EXPECT_EQ(part(copy, 100, 20), part(content, 10, 20));
  EXPECT_EQ(copy[120], content[500]);
  EXPECT_EQ(ring_.counters().copied_bytes, 121U);
}

TEST_F(CopyTest, IntoRegisteredPagesGoesThroughTheLendersFile) {
  const Bytes copy = pattern(121, 4);
  const Started copying(ring_, registered_destination_.loan.view().select(pieces_, arena_),
                        copy_in_from(copy));
  ring_.perform_all();
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(content_of(pages_, 100, kPosition + 3000), part(copy, 0, 100));
  EXPECT_EQ(content_of(pages_, 20, kPosition + 10), part(copy, 100, 20));
  EXPECT_EQ(content_of(pages_, 1, kPosition + 500), part(copy, 120, 1));
  EXPECT_EQ(registered_destination_.loan.filled_bytes(), 121U);
}

TEST_F(CopyTest, AShortCopyThroughTheFileGoesOn) {
  const Bytes content = pattern(4096, 3);
  ASSERT_EQ(pwrite(pages_.number(), content.data(), 4096, kPosition), 4096);
  Bytes copy(1000);
  const Started copying(ring_, registered_source_.loan.view(96, 1000), copy_out_to(copy));
  ring_.settle();
  ring_.perform(0, 300);
  EXPECT_EQ(ring_.sqe(0).off, kPosition + 96 + 300);
  ring_.perform_all();
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(copy, part(content, 96, 1000));
  EXPECT_EQ(ring_.counters().copied_bytes, 1000U);
}

TEST_F(CopyTest, MemoryOfAnotherLengthIsRefused) {
  Bytes copy(101);
  const Started out(ring_, source_.loan.view(50, 100), copy_out_to(copy));
  EXPECT_EQ(out.error(), EINVAL);
  const Started in(ring_, destination_.loan.view(50, 100), copy_in_from(repeated(99, 7)));
  EXPECT_EQ(in.error(), EINVAL);
  EXPECT_EQ(destination_.loan.filled_bytes(), 0U);
}

TEST_F(CopyTest, CopyingNothingIsFine) {
  const Started copying(ring_, registered_source_.loan.view(0, 0), copy_out_to({}));
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(ring_.counters().submitted, 0U);
}

TEST_F(CopyTest, ZeroingRegisteredPagesGoesOnWhenItIsShort) {
  Lent lent(Direction::destination, 4096, 11);
  Bytes pages = pattern(4096, 5);
  ring_.set_buffer(11, pages);
  const Bytes before = pages;
  const Started zeroing(ring_, lent.loan.view(1000, 2000), zero_it());
  ring_.settle();
  ring_.perform(0, 500);
  EXPECT_EQ(ring_.sqe(0).off, 0U);
  ring_.perform_all();
  EXPECT_EQ(zeroing.error(), 0);
  EXPECT_TRUE(all_are(part(pages, 1000, 2000), 0));
  EXPECT_EQ(part(pages, 0, 1000), part(before, 0, 1000));
  EXPECT_EQ(part(pages, 3000, 1096), part(before, 3000, 1096));
}

}  // namespace
}  // namespace sluice::test
