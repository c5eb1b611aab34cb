// The write-intent bitmap on the disk.
#include "target/mirror/write_intent_format.hpp"

#include <gmock/gmock.h>

#include <vector>

#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

using testing::Each;

std::vector<uint64_t> some_words() {
  std::vector<uint64_t> words(kIntentWords);
  for (size_t i = 0; i < words.size(); ++i) words[i] = i * 0x9e3779b97f4a7c15;
  return words;
}

std::vector<std::byte> block_of(std::span<const uint64_t> words, uint64_t index = 3) {
  std::vector<std::byte> block(kIntentBlockBytes);
  encode_intent_block(uuid_of(1), index, words, block);
  return block;
}

TEST(WriteIntentFormat, WhatIsWrittenIsReadAgain) {
  const std::vector<uint64_t> words = some_words();
  std::vector<uint64_t> read(kIntentWords);
  ASSERT_TRUE(decode_intent_block(uuid_of(1), 3, block_of(words), read));
  EXPECT_EQ(read, words);
}

// T3.10: what cannot be known is dirty.
TEST(WriteIntentFormat, ADamagedBlockIsDirtyThroughout) {
  const std::vector<std::byte> block = block_of(some_words());
  std::vector<uint64_t> read(kIntentWords);
  for (size_t place = 0; place < block.size(); ++place) {
    std::vector<std::byte> damaged = block;
    damaged[place] ^= std::byte{0x10};
    std::ranges::fill(read, 0);
    ASSERT_FALSE(decode_intent_block(uuid_of(1), 3, damaged, read)) << place;
    ASSERT_THAT(read, Each(~uint64_t{0})) << place;
  }
}

TEST(WriteIntentFormat, ABlockOfAnotherArrayOrPlaceIsDamaged) {
  const std::vector<std::byte> block = block_of(some_words());
  std::vector<uint64_t> read(kIntentWords);
  EXPECT_FALSE(decode_intent_block(uuid_of(2), 3, block, read));
  EXPECT_FALSE(decode_intent_block(uuid_of(1), 4, block, read));
  EXPECT_FALSE(decode_intent_block(uuid_of(1), 3, std::span(block).first(512), read));
  EXPECT_FALSE(decode_intent_block(uuid_of(1), 0, std::vector<std::byte>(4096), read));
}

TEST(WriteIntentFormat, TheSizesOfABitmap) {
  EXPECT_EQ((IntentLayout{1, 1 << 20}.regions()), 1);
  EXPECT_EQ((IntentLayout{kMiB + 1, 1 << 20}.regions()), 2);
  EXPECT_EQ((IntentLayout{kIntentRegions * kMiB, 1 << 20}.blocks()), 1);
  EXPECT_EQ((IntentLayout{kIntentRegions * kMiB + 1, 1 << 20}.blocks()), 2);
  EXPECT_EQ((IntentLayout{UINT64_MAX, 1 << 20}.regions()), uint64_t{1} << 44);
}

TEST(WriteIntentFormat, RegionsGrowWhenTheBitmapIsFull) {
  EXPECT_EQ(default_region_bytes(kMiB), 1 << 20);
  EXPECT_EQ(default_region_bytes(7 * kTiB), 1 << 20);
  EXPECT_EQ(default_region_bytes(8 * kTiB), 2 << 20);
  EXPECT_EQ(default_region_bytes(100 * kTiB), 16 << 20);
  EXPECT_EQ(default_region_bytes(INT64_MAX), 1 << 30);
  EXPECT_TRUE(is_region_size(64 << 10) && is_region_size(1 << 30));
  EXPECT_FALSE(is_region_size(0) || is_region_size(32 << 10) || is_region_size(3 << 20) ||
               is_region_size(uint64_t{1} << 31));
}

TEST(WriteIntentFormat, BitsBehindTheLastRegionDoNotCount) {
  std::vector<uint64_t> words(kIntentWords, ~uint64_t{0});
  EXPECT_EQ(count_dirty(words, 0), 0);
  EXPECT_EQ(count_dirty(words, 1), 1);
  EXPECT_EQ(count_dirty(words, 64), 64);
  EXPECT_EQ(count_dirty(words, 65), 65);
  EXPECT_EQ(count_dirty(words, UINT64_MAX), kIntentRegions);
}

}  // namespace
}  // namespace sluice::mirror::test
