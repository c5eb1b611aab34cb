// Operations on scattered views: one vectored operation where the kernel can do that.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "ring/abi.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

using Vectors = std::vector<std::pair<uint64_t, size_t>>;  // address and length

Vectors vectors_of(const io_uring_sqe& sqe) {
  Vectors vectors;
  for (uint32_t i = 0; i < sqe.len; ++i) {
    const iovec& vector = reinterpret_cast<const iovec*>(sqe.addr)[i];
    vectors.emplace_back(reinterpret_cast<uint64_t>(vector.iov_base), vector.iov_len);
  }
  return vectors;
}

class VectoredTest : public testing::Test {
 protected:
  // Every other `piece_bytes` bytes.
  static std::vector<Segment> comb(uint32_t count, uint32_t piece_bytes) {
    std::vector<Segment> pieces(count);
    for (uint32_t i = 0; i < count; ++i) pieces[i] = {2 * i * piece_bytes, piece_bytes};
    return pieces;
  }

  void forbid_vectored_fixed() {
    Ring::Abilities abilities = ring_.abilities();
    abilities.vectored_fixed = false;
    ring_.change_abilities(abilities);
  }

  ManualRing ring_;
  Arena arena_;
  Bytes memory_ = pattern(65536, 1);
  uint64_t base_ = reinterpret_cast<uint64_t>(memory_.data());
  Lent source_{Direction::source, memory_};
  Lent destination_{Direction::destination, memory_};
  Lent registered_{Direction::destination, 65536, 9};
};

TEST_F(VectoredTest, AScatteredReadIsOneReadv) {
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 8192));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READV);
  EXPECT_EQ(ring_.sqe(0).off, 8192U);
  EXPECT_EQ(vectors_of(ring_.sqe(0)),
            (Vectors{{base_, 512}, {base_ + 1024, 512}, {base_ + 2048, 512}}));
  ring_.complete(0, 1536);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, AScatteredWriteIsOneWritevAndKeepsItsFlags) {
  const View view = source_.loan.view().select(comb(3, 512), arena_);
  Started writing(ring_, view, write_to({.number = 7, .registered = true}, 0, true));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_WRITEV);
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  EXPECT_EQ(ring_.sqe(0).flags, IOSQE_FIXED_FILE);
  ring_.complete(0, 1536);
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(VectoredTest, RegisteredPagesAreVectoredFromBaseZero) {
  const View view = registered_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, abi::kOpReadvFixed);
  EXPECT_EQ(ring_.sqe(0).buf_index, 9);
  EXPECT_EQ(vectors_of(ring_.sqe(0)), (Vectors{{0, 512}, {1024, 512}, {2048, 512}}));
  ring_.complete(0, 1536);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, ASourceInRegisteredPagesIsWritevFixed) {
  Lent lent(Direction::source, 65536, 4);
  Started writing(ring_, lent.loan.view().select(comb(2, 512), arena_), write_to(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, abi::kOpWritevFixed);
  EXPECT_EQ(ring_.sqe(0).buf_index, 4);
  ring_.complete(0, 1024);
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(VectoredTest, AShortResultInTheMiddleOfAPieceGoesOnThere) {
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 8192));
  ring_.settle();
  ring_.complete(0, 512 + 100);
  EXPECT_EQ(ring_.sqe(0).off, 8192U + 612);
  EXPECT_EQ(vectors_of(ring_.sqe(0)), (Vectors{{base_ + 1024 + 100, 412}, {base_ + 2048, 512}}));
  ring_.complete(0, 924);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, AShortResultAtTheEndOfAPieceGoesOnWithTheNext) {
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 512);
  EXPECT_EQ(vectors_of(ring_.sqe(0)), (Vectors{{base_ + 1024, 512}, {base_ + 2048, 512}}));
  ring_.complete(0, 1024);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, OnlyThePiecesThatWereFilledAreAccountedFor) {
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 512 + 100);
  ring_.complete(0, 0);
  EXPECT_EQ(reading.error(), ENODATA);
  EXPECT_TRUE(destination_.loan.filled({0, 512}));
  EXPECT_TRUE(destination_.loan.filled({1024, 100}));
  EXPECT_EQ(destination_.loan.filled_bytes(), 612U);
}

TEST_F(VectoredTest, MorePiecesThanTheKernelTakesAreSeveralOperations) {
  const View view = destination_.loan.view().select(comb(2500, 8), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).len, abi::kMaxVectors);
  ring_.complete(0, 1024 * 8);
  EXPECT_EQ(ring_.sqe(0).len, abi::kMaxVectors);
  EXPECT_EQ(ring_.sqe(0).off, 8192U);
  EXPECT_EQ(vectors_of(ring_.sqe(0))[0], (Vectors::value_type{base_ + 1024 * 16, 8}));
  ring_.complete(0, 1024 * 8);
  EXPECT_EQ(ring_.sqe(0).len, 2500U - 2048);
  ring_.complete(0, (2500 - 2048) * 8);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(destination_.loan.filled_bytes(), 2500U * 8);
}

TEST_F(VectoredTest, ALateShortResultOfManyPiecesGoesOnInTheMiddle) {
  const View view = destination_.loan.view().select(comb(1500, 8), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 1000 * 8 + 3);
  EXPECT_EQ(ring_.sqe(0).len, 500U);
  EXPECT_EQ(vectors_of(ring_.sqe(0))[0], (Vectors::value_type{base_ + 1000 * 16 + 3, 5}));
  ring_.complete(0, 500 * 8 - 3);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, WithoutVectoredFixedItIsOnePieceAfterTheOther) {
  forbid_vectored_fixed();
  const View view = registered_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 8192));
  ring_.settle();
  for (uint32_t i = 0; i < 3; ++i) {
    ASSERT_EQ(ring_.pending(), 1U);
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ_FIXED);
    EXPECT_EQ(ring_.sqe(0).addr, i * 1024);
    EXPECT_EQ(ring_.sqe(0).len, 512U);
    EXPECT_EQ(ring_.sqe(0).off, 8192 + i * 512);
    ring_.complete(0, 512);
  }
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, WithoutVectoredFixedAShortPieceGoesOnThere) {
  forbid_vectored_fixed();
  const View view = registered_.loan.view().select(comb(2, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 100);
  EXPECT_EQ(ring_.sqe(0).addr, 100U);
  EXPECT_EQ(ring_.sqe(0).len, 412U);
  ring_.complete(0, 412);
  EXPECT_EQ(ring_.sqe(0).addr, 1024U);
  ring_.complete(0, 512);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, WithoutVectoredFixedMemoryWithoutASlotIsStillVectored) {
  forbid_vectored_fixed();
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READV);
  ring_.complete(0, 1536);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(VectoredTest, SocketsTakeOnePieceAfterTheOther) {
  const View view = source_.loan.view().select(comb(3, 512), arena_);
  Started sending(ring_, view, send_to(kManualFile));
  ring_.settle();
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_SEND);
    EXPECT_EQ(ring_.sqe(0).addr, base_ + uint64_t{i} * 1024);
    EXPECT_EQ(ring_.sqe(0).len, 512U);
    ring_.complete(0, 512);
  }
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(VectoredTest, TheVectorsAreInTheArenaOfTheView) {
  const View view = destination_.loan.view().select(comb(3, 512), arena_);
  const size_t before = arena_.used_bytes();
  Started reading(ring_, view, read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(arena_.used_bytes(), before + 3 * sizeof(iovec));
  ring_.complete(0, 1);
  EXPECT_EQ(arena_.used_bytes(), before + 3 * sizeof(iovec)) << "made once, used again";
  ring_.complete(0, 1535);
  EXPECT_EQ(reading.error(), 0);
}

// The kernel counts the sum of the vectors (S118), not each of them.
TEST_F(VectoredTest, VectorsThatAreTooLongTogetherAreSeveralOperations) {
  Lent huge(Direction::source, 3U << 30, 9);
  const std::vector<Segment> pieces{{1U << 30, 1U << 30}, {0, 1U << 30}, {2U << 30, 1U << 29}};
  Started writing(ring_, huge.loan.view().select(pieces, arena_), write_to(kManualFile, 0));
  ring_.settle();
  uint64_t sum = 0;
  for (const auto& [address, length] : vectors_of(ring_.sqe(0))) sum += length;
  ASSERT_EQ(sum, 0x7ffff000U);
  ring_.complete(0, 0x7ffff000);
  EXPECT_EQ(vectors_of(ring_.sqe(0)), (Vectors{{0x3ffff000, 4096}, {2U << 30, 1U << 29}}));
  ring_.complete(0, 4096 + (1 << 29));
  EXPECT_EQ(writing.error(), 0);
}

// Short transfers of random lengths on a real file, with each kind of memory.
TEST_F(VectoredTest, WhateverIsShortTheBytesEndUpWhereTheyBelong) {
  const Bytes content = pattern(20000, 7);
  const Descriptor file = temporary_file(content);
  std::mt19937 random(8);
  for (const bool vectored_fixed : {true, false}) {
    for (const int slot : {Loan::kNoSlot, 9}) {
      if (!vectored_fixed) forbid_vectored_fixed();
      Bytes target = repeated(65536, 0xee);
      Lent lent(Direction::destination, target, slot);
      const std::vector<Segment> pieces = comb(60, 300);
      const View view = lent.loan.view().select(pieces, arena_);
      Started reading(ring_, view, read_from(file_of(file), 111));
      ring_.settle();
      while (!reading.finished()) ring_.perform(0, static_cast<uint32_t>(random()) % 700 + 1);
      ASSERT_EQ(reading.error(), 0);
      for (size_t i = 0; i < pieces.size(); ++i) {
        ASSERT_EQ(part(target, pieces[i].offset, 300), part(content, 111 + i * 300, 300)) << i;
        ASSERT_TRUE(all_are(part(target, pieces[i].offset + 300, 300), 0xee)) << i;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::test
