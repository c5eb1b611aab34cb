#include "core/loan.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "core/arena.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

using Pieces = std::vector<Segment>;

Pieces pieces_of(const View& view) { return {view.segments().begin(), view.segments().end()}; }

class ViewTest : public testing::Test {
 protected:
  Arena arena_;
  std::array<std::byte, 1000> memory_{};
  Lent lent_{Direction::source, memory_};
  View whole_ = lent_.loan.view();
};

TEST_F(ViewTest, DefaultConstructedItIsBroken) {
  const View view;
  EXPECT_EQ(view.status().error(), EFAULT);
  EXPECT_EQ(view.length(), 0U);
  EXPECT_TRUE(view.segments().empty());
}

TEST_F(ViewTest, TheWholeIsOnePiece) {
  EXPECT_TRUE(whole_.status().ok());
  EXPECT_EQ(whole_.length(), 1000U);
  EXPECT_EQ(pieces_of(whole_), (Pieces{{0, 1000}}));
  EXPECT_FALSE(whole_.scattered());
}

TEST_F(ViewTest, ASliceCountsFromTheBeginningOfItsView) {
  const View slice = whole_.slice(100, 500, arena_).slice(20, 30, arena_);
  EXPECT_EQ(pieces_of(slice), (Pieces{{120, 30}}));
  EXPECT_EQ(slice.length(), 30U);
}

TEST_F(ViewTest, ASliceOfOnePieceNeedsNoArena) {
  const View slice = whole_.slice(100, 500, arena_);
  EXPECT_EQ(arena_.used_bytes(), 0U);
  EXPECT_EQ(slice.arena(), nullptr);
}

TEST_F(ViewTest, SelectKeepsTheOrderGiven) {
  const Pieces wanted{{900, 100}, {0, 10}, {500, 1}};
  const View chosen = whole_.select(wanted, arena_);
  EXPECT_EQ(pieces_of(chosen), wanted);
  EXPECT_EQ(chosen.length(), 111U);
  EXPECT_TRUE(chosen.scattered());
  EXPECT_EQ(chosen.arena(), &arena_);
}

TEST_F(ViewTest, SelectMayNameBytesTwice) {
  const Pieces wanted{{0, 10}, {0, 10}, {5, 10}};
  EXPECT_EQ(pieces_of(whole_.select(wanted, arena_)), wanted);
}

TEST_F(ViewTest, SelectOfOnePieceIsASlice) {
  const View chosen = whole_.select(Pieces{{7, 8}}, arena_);
  EXPECT_FALSE(chosen.scattered());
  EXPECT_EQ(pieces_of(chosen), (Pieces{{7, 8}}));
}

TEST_F(ViewTest, SelectOfNothingIsEmptyAndFine) {
  const View chosen = whole_.select({}, arena_);
  EXPECT_TRUE(chosen.status().ok());
  EXPECT_EQ(chosen.length(), 0U);
  EXPECT_TRUE(chosen.segments().empty());
}

TEST_F(ViewTest, EmptyPiecesLeaveNoPart) {
  const View chosen = whole_.select(Pieces{{5, 0}, {10, 3}, {1000, 0}, {20, 3}}, arena_);
  EXPECT_EQ(pieces_of(chosen), (Pieces{{10, 3}, {20, 3}}));
}

TEST_F(ViewTest, OnlyOnePartLeftMakesItUnscattered) {
  const View chosen = whole_.select(Pieces{{5, 0}, {10, 3}}, arena_);
  EXPECT_FALSE(chosen.scattered());
  EXPECT_EQ(pieces_of(chosen), (Pieces{{10, 3}}));
}

TEST_F(ViewTest, ASliceThatCrossesPiecesIsScattered) {
  const View chosen = whole_.select(Pieces{{100, 10}, {300, 10}, {200, 10}}, arena_);
  EXPECT_EQ(pieces_of(chosen.slice(5, 20, arena_)), (Pieces{{105, 5}, {300, 10}, {200, 5}}));
}

TEST_F(ViewTest, ASliceWithinOnePieceOfAScatteredViewIsNot) {
  const View chosen = whole_.select(Pieces{{100, 10}, {300, 10}}, arena_);
  const View slice = chosen.slice(10, 10, arena_);
  EXPECT_FALSE(slice.scattered());
  EXPECT_EQ(pieces_of(slice), (Pieces{{300, 10}}));
}

TEST_F(ViewTest, SelectOfAScatteredViewMayGoBackwards) {
  const View chosen = whole_.select(Pieces{{100, 10}, {300, 10}, {200, 10}}, arena_);
  const View again = chosen.select(Pieces{{25, 5}, {8, 4}, {0, 1}}, arena_);
  EXPECT_EQ(pieces_of(again), (Pieces{{205, 5}, {108, 2}, {300, 2}, {100, 1}}));
}

TEST_F(ViewTest, TheEmptySliceAtTheEndIsFine) {
  const View slice = whole_.slice(1000, 0, arena_);
  EXPECT_TRUE(slice.status().ok());
  EXPECT_EQ(slice.length(), 0U);
}

TEST_F(ViewTest, ASliceBeyondTheEndIsBroken) {
  EXPECT_EQ(whole_.slice(1, 1000, arena_).status().error(), EFAULT);
  EXPECT_EQ(whole_.slice(1001, 0, arena_).status().error(), EFAULT);
}

TEST_F(ViewTest, ASliceWhoseEndWrapsIsBroken) {
  EXPECT_EQ(whole_.slice(1, UINT32_MAX, arena_).status().error(), EFAULT);
  EXPECT_EQ(whole_.slice(UINT32_MAX, 2, arena_).status().error(), EFAULT);
  EXPECT_EQ(whole_.slice(500, UINT32_MAX - 499, arena_).status().error(), EFAULT);
}

TEST_F(ViewTest, OnePieceBeyondTheEndBreaksAll) {
  const View chosen = whole_.select(Pieces{{0, 10}, {999, 2}}, arena_);
  EXPECT_EQ(chosen.status().error(), EFAULT);
  EXPECT_TRUE(chosen.segments().empty());
}

TEST_F(ViewTest, PiecesWhoseSumWrapsAreBroken) {
  Lent huge(Direction::source, UINT32_MAX, 0);
  const View view = huge.loan.view();
  EXPECT_EQ(view.select(Pieces{{0, UINT32_MAX}, {0, 1}}, arena_).status().error(), EFAULT);
  EXPECT_TRUE(view.select(Pieces{{0, UINT32_MAX - 1}, {0, 1}}, arena_).status().ok());
}

TEST_F(ViewTest, PiecesAtTheLargestOffsetAreFound) {
  Lent huge(Direction::source, UINT32_MAX, 0);
  const View halves =
      huge.loan.view().select(Pieces{{1U << 31, (1U << 31) - 1}, {0, 1U << 31}}, arena_);
  EXPECT_EQ(pieces_of(halves.slice(UINT32_MAX - 1, 1, arena_)), (Pieces{{(1U << 31) - 1, 1}}));
}

TEST_F(ViewTest, WhatIsTakenFromABrokenViewIsBroken) {
  const View broken = whole_.slice(0, 1001, arena_);
  EXPECT_EQ(broken.slice(0, 0, arena_).status().error(), EFAULT);
  EXPECT_EQ(broken.select({}, arena_).status().error(), EFAULT);
}

TEST_F(ViewTest, ABrokenViewIsNoReference) {
  const uint32_t before = lent_.loan.references();
  const View broken = whole_.slice(0, 1001, arena_);
  EXPECT_EQ(lent_.loan.references(), before);
  EXPECT_EQ(broken.loan(), nullptr);
}

TEST_F(ViewTest, ACopyIsAFurtherReference) {
  const uint32_t before = lent_.loan.references();
  {
    const View copy = whole_;  // NOLINT(performance-unnecessary-copy-initialization)
    EXPECT_EQ(pieces_of(copy), pieces_of(whole_));
    EXPECT_EQ(lent_.loan.references(), before + 1);
  }
  EXPECT_EQ(lent_.loan.references(), before);
}

TEST_F(ViewTest, MovingPassesTheReferenceOn) {
  const uint32_t before = lent_.loan.references();
  View moved = std::move(whole_);
  EXPECT_EQ(lent_.loan.references(), before);
  EXPECT_EQ(moved.length(), 1000U);
  EXPECT_EQ(whole_.status().error(), EFAULT);  // NOLINT(bugprone-use-after-move)
}

TEST_F(ViewTest, AssignmentDropsWhatWasHeldBefore) {
  Lent other(Direction::source, memory_);
  View view = other.loan.view();
  view = whole_;
  EXPECT_EQ(other.loan.references(), 1U);
  view = other.loan.view();
  EXPECT_EQ(lent_.loan.references(), 2U);
}

TEST_F(ViewTest, AssignmentToItselfChangesNothing) {
  View& same = whole_;
  whole_ = same;
  whole_ = std::move(same);
  EXPECT_EQ(whole_.length(), 1000U);
  EXPECT_EQ(lent_.loan.references(), 2U);
}

TEST_F(ViewTest, DropEndsTheReferenceOnce) {
  whole_.drop();
  whole_.drop();
  EXPECT_EQ(lent_.loan.references(), 1U);
  EXPECT_EQ(whole_.status().error(), EFAULT);
}

TEST_F(ViewTest, ACopyOfAScatteredViewOutlivesTheOriginal) {
  View chosen = whole_.select(Pieces{{1, 2}, {5, 6}}, arena_);
  const View copy = chosen;
  chosen.drop();
  EXPECT_EQ(pieces_of(copy), (Pieces{{1, 2}, {5, 6}}));
}

}  // namespace
}  // namespace sluice::test
