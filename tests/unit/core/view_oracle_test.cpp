// Views of views of views, compared with lists of the loan's bytes that each view contains.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/arena.hpp"
#include "core/loan.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

using Bytes = std::vector<uint32_t>;  // offsets into the loan, in order

class ViewOracle : public testing::TestWithParam<uint32_t> {
 protected:
  uint32_t pick(uint32_t most) { return static_cast<uint32_t>(random_()) % (most + 1); }

  // Pieces of a view of `length` bytes: short, long, empty, overlapping, in any order.
  std::vector<Segment> pick_pieces(uint32_t length) {
    std::vector<Segment> pieces(pick(6));
    for (Segment& piece : pieces) {
      piece.offset = pick(length);
      piece.length = pick(std::min(length - piece.offset, pick(3) == 0 ? length : 9));
    }
    return pieces;
  }

  std::mt19937 random_{GetParam()};
};

Bytes bytes_of(const View& view) {
  Bytes bytes;
  for (const Segment& piece : view.segments()) {
    for (uint32_t i = 0; i < piece.length; ++i) bytes.push_back(piece.offset + i);
  }
  return bytes;
}

Bytes chosen_from(const Bytes& all, const std::vector<Segment>& pieces) {
  Bytes chosen;
  for (const Segment& piece : pieces) {
    chosen.insert(chosen.end(), all.begin() + piece.offset,
                  all.begin() + piece.offset + piece.length);
  }
  return chosen;
}

TEST_P(ViewOracle, NestedSelectionsStandForTheRightBytes) {
  constexpr uint32_t kLength = 200;
  Arena arena;
  Lent lent(Direction::source, kLength, 0);
  for (int round = 0; round < 300; ++round) {
    View view = lent.loan.view();
    Bytes expected = bytes_of(view);
    for (int depth = 0; depth < 5; ++depth) {
      const std::vector<Segment> pieces = pick_pieces(view.length());
      view = view.select(pieces, arena);
      expected = chosen_from(expected, pieces);
      ASSERT_TRUE(view.status().ok());
      ASSERT_EQ(view.length(), expected.size());
      ASSERT_EQ(bytes_of(view), expected) << "round " << round << ", depth " << depth;
    }
    view.drop();
    arena.reset();
  }
  EXPECT_EQ(lent.loan.references(), 1U);
}

TEST_P(ViewOracle, NoPartIsEmpty) {
  Arena arena;
  Lent lent(Direction::source, 100, 0);
  for (int round = 0; round < 300; ++round) {
    View view = lent.loan.view().select(pick_pieces(100), arena);
    view = view.select(pick_pieces(view.length()), arena);
    if (!view.scattered()) continue;
    for (const Segment& piece : view.segments()) ASSERT_NE(piece.length, 0U);
  }
}

TEST_P(ViewOracle, OnePieceTooMuchBreaksTheView) {
  Arena arena;
  Lent lent(Direction::source, 100, 0);
  for (int round = 0; round < 300; ++round) {
    const View view = lent.loan.view().select(pick_pieces(100), arena);
    std::vector<Segment> pieces = pick_pieces(view.length());
    const uint32_t offset = pick(view.length());
    const Segment beyond{offset, view.length() - offset + 1 + pick(UINT32_MAX - 300)};
    pieces.insert(pieces.begin() + pick(static_cast<uint32_t>(pieces.size())), beyond);
    ASSERT_EQ(view.select(pieces, arena).status().error(), EFAULT);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ViewOracle, testing::Range(1U, 9U));

}  // namespace
}  // namespace sluice::test
