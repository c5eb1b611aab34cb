#include "core/arena.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

bool aligned(const void* place) {
  return reinterpret_cast<uintptr_t>(place) % Arena::kAlignment == 0;
}

TEST(Arena, AlignsWhateverTheSizesAre) {
  Arena arena(1024);
  for (size_t bytes = 1; bytes < 40; ++bytes) {
    EXPECT_TRUE(aligned(arena.allocate(bytes))) << bytes;
  }
}

TEST(Arena, AlignsWhatIsOnTheHeap) {
  Arena arena(16);
  for (size_t bytes = 17; bytes < 40; ++bytes) {
    EXPECT_TRUE(aligned(arena.allocate(bytes))) << bytes;
  }
}

TEST(Arena, AllocationsDoNotOverlap) {
  Arena arena(4096);
  auto* const first = static_cast<std::byte*>(arena.allocate(100));
  auto* const second = static_cast<std::byte*>(arena.allocate(100));
  std::memset(first, 1, 100);
  std::memset(second, 2, 100);
  EXPECT_EQ(first[99], std::byte{1});
  EXPECT_GE(second, first + 100);
}

TEST(Arena, ReusesWhatWasReleasedLast) {
  Arena arena;
  arena.allocate(32);
  void* const child = arena.allocate(200);
  arena.release(child, 200);
  EXPECT_EQ(arena.allocate(200), child);
}

TEST(Arena, ReleasedInReverseOrderItIsEmptyAgain) {
  Arena arena;
  void* const first = arena.allocate(33);
  void* const second = arena.allocate(65);
  void* const third = arena.allocate(1);
  arena.release(third, 1);
  arena.release(second, 65);
  arena.release(first, 33);
  EXPECT_EQ(arena.used_bytes(), 0U);
}

TEST(Arena, ReusesWhatIsReleasedOutOfOrderForTheSameSize) {
  Arena arena;
  void* const older = arena.allocate(64);
  void* const newer = arena.allocate(64);
  arena.release(older, 64);
  EXPECT_EQ(arena.used_bytes(), 128U);
  EXPECT_GT(arena.allocate(64 + 8 * Arena::kAlignment), newer) << "of another size in its list";
  EXPECT_EQ(arena.allocate(64), older);
  EXPECT_GT(arena.allocate(64), newer);
}

TEST(Arena, ForgetsWhatItKeptAtReset) {
  Arena arena;
  void* const first = arena.allocate(64);
  void* const second = arena.allocate(64);
  arena.allocate(64);
  arena.release(second, 64);
  arena.reset();
  EXPECT_EQ(arena.allocate(64), first);
  EXPECT_EQ(arena.allocate(64), second);
}

// Several concurrent rows of children, as under Gather; rows grow and shrink at random.
TEST(Arena, RowsSideBySideNeedNoMoreThanTheirWidth) {
  std::mt19937 random(20261128);
  Arena arena;
  constexpr size_t kRows = 4;
  constexpr size_t kFrames[] = {400, 160, 912};
  std::array<std::vector<std::pair<void*, size_t>>, kRows> rows;
  for (int step = 0; step < 100'000; ++step) {
    auto& row = rows[random() % kRows];
    if (row.size() == std::size(kFrames) || (!row.empty() && random() % 2 == 0)) {
      arena.release(row.back().first, row.back().second);
      row.pop_back();
    } else {
      const size_t bytes = kFrames[row.size()];
      void* const place = arena.allocate(bytes);
      std::memset(place, 0xff, bytes);
      row.emplace_back(place, bytes);
    }
  }
  EXPECT_EQ(arena.overflows(), 0U);
  EXPECT_LE(arena.used_bytes(), kRows * (400 + 160 + 912));
}

TEST(Arena, NothingOverflowsWhileItFits) {
  Arena arena(256);
  arena.allocate(128);
  arena.allocate(128);
  EXPECT_EQ(arena.overflows(), 0U);
}

TEST(Arena, CountsWhatDoesNotFit) {
  Arena arena(256);
  arena.allocate(128);
  arena.allocate(200);
  arena.allocate(300);
  EXPECT_EQ(arena.overflows(), 2U);
}

TEST(Arena, WhatDidNotFitCanBeUsedUntilReset) {
  Arena arena(16);
  std::memset(arena.allocate(5000), 1, 5000);
  std::memset(arena.allocate(5000), 2, 5000);
  EXPECT_GE(arena.used_bytes(), 10000U);
}

TEST(Arena, WhatFitsStillComesFromTheChunkAfterAnOverflow) {
  Arena arena(256);
  arena.allocate(1000);
  arena.allocate(256);
  EXPECT_EQ(arena.overflows(), 1U);
}

TEST(Arena, GrowsAtResetToWhatTheRequestNeeded) {
  Arena arena(256);
  for (int request = 0; request < 3; ++request) {
    for (int i = 0; i < 10; ++i) arena.allocate(100);
    arena.reset();
  }
  EXPECT_EQ(arena.overflows(), 8U) << "ten times 112 bytes, two of which fit at first";
}

TEST(Arena, KeepsCountingOverflowsOverResets) {
  Arena arena(16);
  arena.allocate(32);
  arena.reset();
  arena.allocate(64);
  EXPECT_EQ(arena.overflows(), 2U);
}

TEST(Arena, ResetGivesTheSameMemoryAgain) {
  Arena arena;
  void* const before = arena.allocate(100);
  arena.reset();
  EXPECT_EQ(arena.used_bytes(), 0U);
  EXPECT_EQ(arena.allocate(100), before);
}

TEST(Arena, ReusesHeapMemoryAndFreesItAtReset) {
  Arena arena(64);
  arena.allocate(64);
  void* const large = arena.allocate(500);
  arena.release(large, 500);
  EXPECT_EQ(arena.allocate(500), large);
  EXPECT_EQ(arena.used_bytes(), 64U + 512U);
  EXPECT_EQ(arena.overflows(), 1U);
}

TEST(Arena, GivesAnArrayOfAsManyObjectsAsAskedFor) {
  Arena arena;
  const std::span<uint64_t> numbers = arena.array<uint64_t>(7);
  EXPECT_EQ(numbers.size(), 7U);
  EXPECT_TRUE(aligned(numbers.data()));
  EXPECT_EQ(arena.used_bytes(), 64U);
}

TEST(Arena, AllocatesNothingAtAll) {
  Arena arena;
  arena.release(arena.allocate(0), 0);
  EXPECT_TRUE(arena.array<int>(0).empty());
  EXPECT_EQ(arena.used_bytes(), 0U);
}

TEST(Arena, WorksWithoutAChunk) {
  Arena arena(0);
  std::memset(arena.allocate(10), 1, 10);
  arena.reset();
  arena.allocate(10);
  EXPECT_EQ(arena.overflows(), 1U);
}

// Random blocks keep their bytes; mostly the newest is released, now and then an older one.
TEST(Arena, BlocksKeepTheirBytesWhateverTheOrderOfSizes) {
  std::mt19937 random(20230207);
  struct Block {
    std::byte* place;
    size_t bytes;
    std::byte mark;
  };
  Arena arena(2048);
  for (int request = 0; request < 20; ++request) {
    std::vector<Block> blocks;
    for (uint32_t step = 0; step < 200; ++step) {
      if (!blocks.empty() && random() % 3 == 0) {
        if (random() % 2 == 0) std::swap(blocks.back(), blocks[random() % blocks.size()]);
        arena.release(blocks.back().place, blocks.back().bytes);
        blocks.pop_back();
        continue;
      }
      const size_t bytes = random() % 300 + 1;
      const std::byte mark{static_cast<uint8_t>(random())};
      auto* const place = static_cast<std::byte*>(arena.allocate(bytes));
      std::memset(place, std::to_integer<int>(mark), bytes);
      blocks.push_back({place, bytes, mark});
    }
    for (const Block& block : blocks) {
      for (size_t i = 0; i < block.bytes; ++i) ASSERT_EQ(block.place[i], block.mark);
    }
    arena.reset();
  }
}

}  // namespace
}  // namespace sluice::test
