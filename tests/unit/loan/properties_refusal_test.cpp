// Direction (P-5), bounds (P-6) and the explicit copy path (P-14): a refused operation has no
// effect, and is not submitted to the kernel.
#include <gtest/gtest.h>

#include <array>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using P05_DirectionIsTheLenders = OnKernelRing;

TEST_F(P05_DirectionIsTheLenders, AReceiveIntoAWriteBufferChangesNoByte) {
  const Pair sockets = stream_sockets();
  const Bytes before = pattern(1000, 1);
  Bytes memory = before;
  Lent lent(Direction::source, memory);
  ASSERT_EQ(write(sockets.near.number(), repeated(1000, 0xaa).data(), 1000), 1000);
  const Started receiving(ring(), lent.loan.view(), recv_from(file_of(sockets.far)));
  EXPECT_EQ(receiving.error(), EACCES);
  settle();
  EXPECT_EQ(memory, before);
  EXPECT_EQ(received_by(sockets.far).size(), 1000U) << "still there for who may have it";
}

TEST_F(P05_DirectionIsTheLenders, AReadIntoAWriteBufferChangesNoByte) {
  const Descriptor file = temporary_file(repeated(1000, 0xaa));
  const Bytes before = pattern(1000, 1);
  Bytes memory = before;
  ASSERT_TRUE(ring().register_memory(0, memory));
  for (const int slot : {Loan::kNoSlot, 0}) {
    Lent lent(Direction::source, memory, slot);
    const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 0));
    EXPECT_EQ(reading.error(), EACCES);
    const Started zeroing(ring(), lent.loan.view(), zero_it());
    EXPECT_EQ(zeroing.error(), EACCES);
    settle();
    EXPECT_EQ(memory, before);
  }
}

TEST_F(P05_DirectionIsTheLenders, ASendFromAReadBufferReachesNobody) {
  const Pair sockets = stream_sockets();
  Bytes memory = pattern(1000, 1);
  Lent lent(Direction::destination, memory);
  const Started sending(ring(), lent.loan.view(), send_to(file_of(sockets.near)));
  const Started zero_copy(ring(), lent.loan.view(), send_zc_to(file_of(sockets.near)));
  EXPECT_EQ(sending.error(), EACCES);
  EXPECT_EQ(zero_copy.error(), EACCES);
  settle();
  EXPECT_TRUE(received_by(sockets.far).empty());
}

TEST_F(P05_DirectionIsTheLenders, AWriteFromAReadBufferReachesNoFile) {
  const Descriptor file = temporary_file();
  Bytes memory = pattern(1000, 1);
  Lent lent(Direction::destination, memory);
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 0));
  EXPECT_EQ(writing.error(), EACCES);
  settle();
  EXPECT_TRUE(content_of(file, 1000).empty());
}

TEST_F(P05_DirectionIsTheLenders, EveryPartOfABufferHasItsDirection) {
  Bytes memory = pattern(1000, 1);
  Lent lent(Direction::destination, memory);
  Arena arena;
  const std::array<Segment, 2> pieces{{{0, 10}, {500, 10}}};
  const View part = lent.loan.view().select(pieces, arena).slice(5, 10, arena);
  const Started writing(ring(), part, write_to({.number = 1}, 0));
  EXPECT_EQ(writing.error(), EACCES);
}

TEST_F(P05_DirectionIsTheLenders, LentAgainItMayBeTheOtherOne) {
  const Descriptor file = temporary_file(pattern(1000, 1));
  Bytes memory(1000);
  Lent lent(Direction::source, memory);
  Started refused(ring(), lent.loan.view(), read_from(file_of(file), 0));
  EXPECT_EQ(refused.error(), EACCES);
  refused.drop_data();
  lent.close();
  lent.lend(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(memory, pattern(1000, 1));
}

using P06_SubBuffers = OnKernelRing;

TEST_F(P06_SubBuffers, OverlappingSourceViewsAreWrittenAtTheSameTime) {
  const Descriptor file = temporary_file();
  Bytes memory = pattern(4096, 1);
  Lent lent(Direction::source, memory);
  const Started first(ring(), lent.loan.view(0, 3000), write_to(file_of(file), 0));
  const Started second(ring(), lent.loan.view(1000, 3000), write_to(file_of(file), 10000));
  const Started third(ring(), lent.loan.view(), write_to(file_of(file), 20000));
  EXPECT_EQ(finish(first), 0);
  EXPECT_EQ(finish(second), 0);
  EXPECT_EQ(finish(third), 0);
  EXPECT_EQ(content_of(file, 3000, 0), part(memory, 0, 3000));
  EXPECT_EQ(content_of(file, 3000, 10000), part(memory, 1000, 3000));
  EXPECT_EQ(content_of(file, 4096, 20000), memory);
}

TEST_F(P06_SubBuffers, AnySizeAtAnyOffset) {
  const Descriptor file = temporary_file(pattern(4096, 1));
  for (const auto& [offset, length] : {Segment{0, 1}, Segment{1, 1}, Segment{511, 513},
                                       Segment{4095, 1}, Segment{0, 4096}, Segment{4096, 0}}) {
    Bytes memory = repeated(4096, 0xee);
    Lent lent(Direction::destination, memory);
    const Started reading(ring(), lent.loan.view(offset, length), read_from(file_of(file), 0));
    ASSERT_EQ(finish(reading), 0);
    EXPECT_EQ(part(memory, offset, length), part(pattern(4096, 1), 0, length));
    EXPECT_TRUE(all_are(part(memory, 0, offset), 0xee));
    EXPECT_TRUE(all_are(part(memory, offset + length, 4096 - offset - length), 0xee));
  }
}

TEST_F(P06_SubBuffers, TooLongOnesHaveNoEffect) {
  const Descriptor file = temporary_file(repeated(8192, 0xaa));
  Bytes memory = repeated(8192, 0xee);
  const std::span<std::byte> lent_part = std::span(memory).subspan(1000, 4096);
  for (const auto& [offset, length] :
       {Segment{0, 4097}, Segment{4096, 1}, Segment{4097, 0}, Segment{1, UINT32_MAX},
        Segment{UINT32_MAX, 1}, Segment{UINT32_MAX, UINT32_MAX}, Segment{1U << 31, 1U << 31}}) {
    Lent lent(Direction::destination, lent_part);
    const Started reading(ring(), lent.loan.view(offset, length), read_from(file_of(file), 0));
    EXPECT_EQ(reading.error(), EFAULT) << offset << ", " << length;
    settle();
    EXPECT_TRUE(all_are(memory, 0xee));
    EXPECT_EQ(lent.loan.filled_bytes(), 0U);
  }
}

TEST_F(P06_SubBuffers, LentTwiceIsAllowed) {
  Bytes memory = pattern(100, 1);
  Lent lent(Direction::source, memory);
  std::vector<View> views(1000);
  for (View& view : views) view = lent.loan.view();
  EXPECT_TRUE(std::ranges::all_of(views, [](const View& view) { return view.status().ok(); }));
}

// An addressable loan, and one whose bytes go through the lender's file, on the kernel's ring.
class P14_ExplicitCopy : public OnKernelRing, public testing::WithParamInterface<bool> {
 protected:
  static constexpr uint64_t kPosition = 1 << 20;

  Lent lend(Direction direction) {
    if (GetParam()) return Lent(direction, memory_);
    return {direction, 4096, 7, file_of(pages_), kPosition};
  }
  // The content of the lent pages.
  Bytes pages() const { return GetParam() ? memory_ : content_of(pages_, 4096, kPosition); }
  void set_pages(const Bytes& bytes) {
    memory_ = bytes;
    ASSERT_EQ(pwrite(pages_.number(), bytes.data(), 4096, kPosition), 4096);
  }

  Bytes memory_ = Bytes(4096);
  Descriptor pages_ = temporary_file();
};

TEST_P(P14_ExplicitCopy, OutOfAWriteBufferAtAnyOffset) {
  set_pages(pattern(4096, 1));
  Lent lent = lend(Direction::source);
  for (const auto& [offset, length] : {Segment{0, 4096}, Segment{1, 1}, Segment{1001, 2003}}) {
    Bytes copy(length);
    const Started copying(ring(), lent.loan.view(offset, length), copy_out_to(copy));
    EXPECT_EQ(finish(copying), 0);
    EXPECT_EQ(copy, part(pattern(4096, 1), offset, length));
  }
}

TEST_P(P14_ExplicitCopy, IntoAReadBufferAtAnyOffset) {
  set_pages(repeated(4096, 0xee));
  Lent lent = lend(Direction::destination);
  const Bytes copy = pattern(2003, 1);
  const Started copying(ring(), lent.loan.view(1001, 2003), copy_in_from(copy));
  EXPECT_EQ(finish(copying), 0);
  EXPECT_EQ(part(pages(), 1001, 2003), copy);
  EXPECT_TRUE(all_are(part(pages(), 0, 1001), 0xee));
  EXPECT_TRUE(all_are(part(pages(), 3004, 1092), 0xee));
  EXPECT_TRUE(lent.loan.filled({1001, 2003}));
  EXPECT_EQ(lent.loan.filled_bytes(), 2003U);
}

TEST_P(P14_ExplicitCopy, OutOfAReadBufferIsRefused) {
  set_pages(pattern(4096, 1));
  Lent lent = lend(Direction::destination);
  Bytes copy = repeated(4096, 0xee);
  const Started copying(ring(), lent.loan.view(), copy_out_to(copy));
  EXPECT_EQ(copying.error(), EACCES);
  EXPECT_TRUE(all_are(copy, 0xee));
}

TEST_P(P14_ExplicitCopy, IntoAWriteBufferIsRefused) {
  set_pages(pattern(4096, 1));
  Lent lent = lend(Direction::source);
  const Bytes copy = repeated(4096, 0xee);
  const Started copying(ring(), lent.loan.view(), copy_in_from(copy));
  EXPECT_EQ(copying.error(), EACCES);
  settle();
  EXPECT_EQ(pages(), pattern(4096, 1));
}

TEST_P(P14_ExplicitCopy, EveryByteIsCounted) {
  set_pages(pattern(4096, 1));
  Lent lent = lend(Direction::source);
  Bytes copy(4096);
  for (const uint32_t length : {1U, 100U, 4096U}) {
    const uint64_t before = ring().counters().copied_bytes;
    const Started copying(ring(), lent.loan.view(0, length),
                          copy_out_to(std::span(copy).first(length)));
    EXPECT_EQ(finish(copying), 0);
    EXPECT_EQ(ring().counters().copied_bytes - before, length);
  }
}

TEST_P(P14_ExplicitCopy, OrdinaryOperationsCountNothing) {
  const Descriptor file = temporary_file(pattern(4096, 1));
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(ring().counters().copied_bytes, 0U);
}

TEST_P(P14_ExplicitCopy, BeyondTheEndIsRefused) {
  Lent lent = lend(Direction::source);
  Bytes copy = repeated(97, 0xee);
  const Started copying(ring(), lent.loan.view(4000, 97), copy_out_to(copy));
  EXPECT_EQ(copying.error(), EFAULT);
  EXPECT_TRUE(all_are(copy, 0xee));
}

INSTANTIATE_TEST_SUITE_P(Kinds, P14_ExplicitCopy, testing::Bool(),
                         [](const auto& test) { return test.param ? "mapped" : "registered"; });

}  // namespace
}  // namespace sluice::test
