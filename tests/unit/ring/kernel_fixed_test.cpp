// Registered buffers on the real kernel: memory of the test in slots of the buffer table. (Pages
// that a driver has lent are tested on devices, in tests/device.)
#include <gtest/gtest.h>

#include <array>

#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

class KernelFixedTest : public OnKernelRing {
 protected:
  static constexpr int kSlot = 3;

  void SetUp() override {
    OnKernelRing::SetUp();
    if (IsSkipped()) return;
    const auto registered = ring().register_memory(kSlot, memory_);
    ASSERT_TRUE(registered) << registered.error().text;
  }

  Arena arena_;
  const Bytes content_ = pattern(65536, 1);
  Descriptor file_ = temporary_file(content_);
  Bytes memory_ = repeated(65536, 0xee);
};

TEST_F(KernelFixedTest, AReadFillsTheSlotsMemory) {
  Lent lent(Direction::destination, memory_, kSlot);
  const Started reading(ring(), lent.loan.view(5000, 10000), read_from(file_of(file_), 777));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(part(memory_, 5000, 10000), part(content_, 777, 10000));
  EXPECT_TRUE(all_are(part(memory_, 0, 5000), 0xee));
  EXPECT_TRUE(all_are(part(memory_, 15000, 50536), 0xee));
}

TEST_F(KernelFixedTest, AWriteTakesTheSlotsMemory) {
  const Descriptor target = temporary_file();
  std::ranges::copy(content_, memory_.begin());
  Lent lent(Direction::source, memory_, kSlot);
  const Started writing(ring(), lent.loan.view(5000, 10000), write_to(file_of(target), 9, true));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(target, 20000, 9), part(content_, 5000, 10000));
}

TEST_F(KernelFixedTest, ScatteredPiecesAreReadInTheirOrder) {
  Lent lent(Direction::destination, memory_, kSlot);
  const std::array<Segment, 3> pieces{{{40000, 1000}, {0, 1500}, {65000, 100}}};
  const uint64_t before = ring().counters().submitted;
  const Started reading(ring(), lent.loan.view().select(pieces, arena_),
                        read_from(file_of(file_), 10));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(part(memory_, 40000, 1000), part(content_, 10, 1000));
  EXPECT_EQ(part(memory_, 0, 1500), part(content_, 1010, 1500));
  EXPECT_EQ(part(memory_, 65000, 100), part(content_, 2510, 100));
  if (ring().abilities().vectored_fixed) {
    EXPECT_EQ(ring().counters().submitted, before + 1);
  }
}

TEST_F(KernelFixedTest, ScatteredPiecesAreWrittenInTheirOrder) {
  const Descriptor target = temporary_file();
  std::ranges::copy(content_, memory_.begin());
  Lent lent(Direction::source, memory_, kSlot);
  std::vector<Segment> pieces;
  Bytes expected;
  for (uint32_t i = 2000; i-- > 0;) {
    pieces.push_back({i * 32, 20});
    const Bytes piece = part(memory_, size_t{i} * 32, 20);
    expected.insert(expected.end(), piece.begin(), piece.end());
  }
  const Started writing(ring(), lent.loan.view().select(pieces, arena_),
                        write_to(file_of(target), 0));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(target, 65536), expected);
}

TEST_F(KernelFixedTest, TheEndOfAFileIsNoData) {
  Lent lent(Direction::destination, memory_, kSlot);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 65000));
  EXPECT_EQ(finish(reading), ENODATA);
  EXPECT_EQ(lent.loan.filled_bytes(), 536U);
}

TEST_F(KernelFixedTest, APipeIsReadUntilTheViewIsFull) {
  const Pair pipe = pipe_ends();
  Lent lent(Direction::destination, memory_, kSlot);
  const Started reading(ring(), lent.loan.view(100, 1000), read_from(file_of(pipe.near), 0));
  for (size_t offset = 0; offset < 1000; offset += 500) {
    settle();
    ASSERT_EQ(write(pipe.far.number(), content_.data() + offset, 500), 500);
  }
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(part(memory_, 100, 1000), part(content_, 0, 1000));
}

TEST_F(KernelFixedTest, AnEmptySlotIsAFaultAndNothingIsMoved) {
  Lent lent(Direction::destination, memory_, kSlot + 1);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(reading), EFAULT);
  EXPECT_TRUE(all_are(memory_, 0xee));
}

TEST_F(KernelFixedTest, ASlotBeyondTheTableIsAFault) {
  Lent lent(Direction::destination, memory_, kSlots);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(reading), EFAULT);
}

TEST_F(KernelFixedTest, MemoryThatIsNotTheSlotsIsAFault) {
  Bytes other = repeated(4096, 0xdd);
  Lent lent(Direction::destination, other, kSlot);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(reading), EFAULT);
  EXPECT_TRUE(all_are(other, 0xdd));
}

TEST_F(KernelFixedTest, RegisteringReplacesWhatWasThere) {
  Bytes other(65536);
  ASSERT_TRUE(ring().register_memory(kSlot, other));
  Lent old(Direction::destination, memory_, kSlot);
  const Started refused(ring(), old.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(refused), EFAULT);
  Lent lent(Direction::destination, other, kSlot);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(other, content_);
}

TEST_F(KernelFixedTest, RegisteringNothingEmptiesTheSlot) {
  ASSERT_TRUE(ring().register_memory(kSlot, {}));
  Lent lent(Direction::destination, memory_, kSlot);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file_), 0));
  EXPECT_EQ(finish(reading), EFAULT);
}

TEST_F(KernelFixedTest, RegisteringBeyondTheTableIsRefused) {
  EXPECT_EQ(ring().register_memory(kSlots, memory_).error().error, EINVAL);
  EXPECT_EQ(ring().register_memory(-1, memory_).error().error, EINVAL);
}

TEST_F(KernelFixedTest, RegisteringWhatIsNoMemoryIsRefused) {
  const std::span<std::byte> nowhere(reinterpret_cast<std::byte*>(4096), 4096);
  EXPECT_EQ(ring().register_memory(kSlot, nowhere).error().error, EFAULT);
}

TEST_F(KernelFixedTest, WithoutATableThereIsNoSlotToRegister) {
  open({.slots = 0});
  EXPECT_FALSE(ring().register_memory(0, memory_));
}

}  // namespace
}  // namespace sluice::test
