#include "image/copy_pieces.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace sluice::image {
namespace {

Extent of(uint64_t length, Extent kind) {
  kind.length = length;
  return kind;
}

std::vector<CopyPiece> all(CopyPieces& pieces) {
  std::vector<CopyPiece> list;
  CopyPiece piece;
  while (pieces.take(piece)) list.push_back(piece);
  return list;
}

TEST(CopyPieces, DataIsCutAndHolesAreLeftOut) {
  CopyPieces pieces({.end = 400, .align_bytes = 4, .piece_bytes = 100});
  pieces.add(std::vector<Extent>{of(40, kHoleExtent), of(200, kDataExtent), of(160, kHoleExtent)});
  const auto list = all(pieces);
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].offset, 40U);
  EXPECT_EQ(list[0].length, 60U);
  EXPECT_EQ(list[1].offset, 100U);
  EXPECT_EQ(list[1].length, 100U);
  EXPECT_EQ(list[2].offset, 200U);
  EXPECT_EQ(list[2].length, 40U);
  EXPECT_TRUE(pieces.all_found());
  EXPECT_EQ(pieces.taken_until(), 400U);
}

TEST(CopyPieces, TakenUntilIsWhereTheNextPieceBegins) {
  CopyPieces pieces({.end = 300, .align_bytes = 4, .piece_bytes = 100});
  EXPECT_EQ(pieces.taken_until(), 0U);
  pieces.add(std::vector<Extent>{of(200, kDataExtent)});
  CopyPiece piece;
  ASSERT_TRUE(pieces.take(piece));
  EXPECT_EQ(pieces.taken_until(), 100U);
  ASSERT_TRUE(pieces.take(piece));
  EXPECT_FALSE(pieces.take(piece));
  EXPECT_EQ(pieces.taken_until(), 200U);
  EXPECT_FALSE(pieces.all_found());
}

TEST(CopyPieces, ZeroesAreWrittenToATargetThatMayHaveData) {
  CopyPieces pieces({.end = 300, .align_bytes = 4, .piece_bytes = 100, .target_is_zero = false});
  pieces.add(std::vector<Extent>{of(100, kHoleExtent), of(200, kHoleExtent)});
  const auto list = all(pieces);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].kind, CopyPiece::Kind::zero);
  EXPECT_EQ(list[0].length, 300U);
}

TEST(CopyPieces, WhatTheBackingFileHasIsLeftOut) {
  CopyPieces pieces({.end = 300,
                     .align_bytes = 4,
                     .piece_bytes = 100,
                     .target_is_zero = false,
                     .skips_unallocated = true});
  pieces.add(
      std::vector<Extent>{of(100, {.depth = 1}), of(100, kNothingExtent), of(100, kHoleExtent)});
  const auto list = all(pieces);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].offset, 200U);
  EXPECT_EQ(list[0].kind, CopyPiece::Kind::zero);
}

// With any extents in any portions: in order, aligned, and each byte is treated as its extent says,
// or read.
TEST(CopyPieces, EachByteIsTreatedAsItsExtentSays) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t end) { return random() % end; };
    const bool target_is_zero = below(2) == 0;
    const bool skips = below(2) == 0;
    const uint64_t begin = below(3) * 64;
    const uint64_t end = begin + 1 + below(3000);
    CopyPieces pieces({.begin = begin,
                       .end = end,
                       .align_bytes = 64,
                       .piece_bytes = 256,
                       .target_is_zero = target_is_zero,
                       .skips_unallocated = skips});
    std::vector<char> expected(end, '?');
    std::vector<char> done(end, '-');
    uint64_t last = begin;
    while (!pieces.all_found()) {
      std::vector<Extent> extents;
      uint64_t at = pieces.found_until();
      for (uint32_t i = 0; i <= below(4); ++i) {
        const Extent kinds[] = {kDataExtent, kNothingExtent, kHoleExtent, {.depth = 1}};
        const Extent extent = of(1 + below(300), kinds[below(4)]);
        extents.push_back(extent);
        const bool none = skips && !extent.allocated_here();
        const char work = none ? '-' : !extent.zero ? 'd' : target_is_zero ? '-' : 'z';
        for (uint64_t i2 = 0; i2 < extent.length && at < end; ++i2) expected[at++] = work;
      }
      pieces.add(extents);
      CopyPiece piece;
      for (uint32_t i = 0; i < below(6) && pieces.take(piece); ++i) {
        ASSERT_GE(piece.offset, last);
        ASSERT_EQ(piece.offset % 64, 0U);
        last = piece.offset + piece.length;
        ASSERT_LE(last, end);
        ASSERT_TRUE(last % 64 == 0 || last == end);
        for (uint64_t i2 = piece.offset; i2 < last; ++i2) {
          done[i2] = piece.kind == CopyPiece::Kind::data ? 'd' : 'z';
        }
      }
    }
    for (const CopyPiece& piece : all(pieces)) {
      for (uint64_t i = piece.offset; i < piece.offset + piece.length; ++i) {
        done[i] = piece.kind == CopyPiece::Kind::data ? 'd' : 'z';
      }
    }
    for (uint64_t i = begin; i < end; ++i) {
      ASSERT_TRUE(done[i] == expected[i] || done[i] == 'd') << i << expected[i] << done[i];
    }
    EXPECT_EQ(pieces.taken_until(), end);
    EXPECT_EQ(pieces.ready_bytes(), 0U);
  }
}

}  // namespace
}  // namespace sluice::image
