// How many reads of /dev/fuse a queue has, by what its rounds bring.
#include "frontend/fuse/reader_count.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

using fuse::ReaderCount;

// Rounds that each bring as many requests as there are reads, but at most `waiting`. Returns in how
// many of them there was more than one read.
uint32_t run_rounds(ReaderCount& count, uint64_t& round, uint32_t rounds, uint32_t waiting) {
  uint32_t several = 0;
  for (uint32_t i = 0; i < rounds; ++i) {
    ++round;
    const uint32_t reads = count.wanted();
    several += reads > 1 ? 1 : 0;
    for (uint32_t request = 0; request < std::min(reads, waiting); ++request) count.count(round);
  }
  return several;
}

TEST(FuseReaderCount, BeginsWithOne) { EXPECT_EQ(ReaderCount().wanted(), 1U); }

TEST(FuseReaderCount, GrowsToItsMaximumWhileAllReadsFindRequests) {
  ReaderCount count;
  count.set_max(8);
  uint64_t round = 0;
  run_rounds(count, round, 10 * ReaderCount::kSampleRounds, 32);
  EXPECT_EQ(count.wanted(), 8U);
}

TEST(FuseReaderCount, StaysWithinAMaximumThatIsNoPowerOfTwo) {
  ReaderCount count;
  count.set_max(3);
  uint64_t round = 0;
  run_rounds(count, round, 10 * ReaderCount::kSampleRounds, 32);
  EXPECT_EQ(count.wanted(), 2U);
}

TEST(FuseReaderCount, OneRequestAtATimeHasRarelyMoreThanOneRead) {
  ReaderCount count;
  count.set_max(8);
  uint64_t round = 0;
  const uint32_t rounds = 2000 * ReaderCount::kSampleRounds;
  const uint32_t several = run_rounds(count, round, rounds, 1);
  EXPECT_GT(several, 0U) << "it is tried";
  EXPECT_LT(several, rounds / 50);
}

TEST(FuseReaderCount, FallsBackWhenTheRequestsBecomeFewer) {
  ReaderCount count;
  count.set_max(8);
  uint64_t round = 0;
  run_rounds(count, round, 10 * ReaderCount::kSampleRounds, 32);
  run_rounds(count, round, 4 * ReaderCount::kSampleRounds, 1);
  EXPECT_EQ(count.wanted(), 1U);
}

TEST(FuseReaderCount, GrowsAgainAfterALongTimeOfSingleRequests) {
  ReaderCount count;
  count.set_max(8);
  uint64_t round = 0;
  run_rounds(count, round, 2000 * ReaderCount::kSampleRounds, 1);
  run_rounds(count, round, (ReaderCount::kPauseMax + 10) * ReaderCount::kSampleRounds, 32);
  EXPECT_EQ(count.wanted(), 8U);
}

TEST(FuseReaderCount, RoundsWithAFewMoreRequestsThanHalfKeepTheReads) {
  ReaderCount count;
  count.set_max(8);
  uint64_t round = 0;
  run_rounds(count, round, 10 * ReaderCount::kSampleRounds, 32);
  run_rounds(count, round, 10 * ReaderCount::kSampleRounds, 5);
  EXPECT_EQ(count.wanted(), 8U) << "a sample with 5 of 8 is enough";
}

}  // namespace
}  // namespace sluice::test
