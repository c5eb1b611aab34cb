#include "image/zero_runs.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::image {
namespace {

TEST(ZeroRuns, OneBitAnywhereIsSeen) {
  for (const size_t size : {1U, 7U, 255U, 256U, 257U, 512U, 4096U, 5000U}) {
    std::vector<std::byte> bytes(size);
    EXPECT_TRUE(is_zero(bytes)) << size;
    for (size_t i = 0; i < size; ++i) {
      bytes[i] = std::byte{0x10};
      ASSERT_FALSE(is_zero(bytes)) << size << " " << i;
      bytes[i] = std::byte{0};
    }
  }
  EXPECT_TRUE(is_zero({}));
}

TEST(ZeroRuns, GrainsThatAreAlikeMakeARun) {
  std::vector<std::byte> bytes(1000);
  bytes[299] = std::byte{1};
  bytes[300] = std::byte{1};
  std::vector<ZeroRun> runs;
  for (size_t at = 0; at < bytes.size(); at += runs.back().length) {
    runs.push_back(first_zero_run(std::span(bytes).subspan(at), 100));
  }
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[0].length, 200U);
  EXPECT_TRUE(runs[0].zero);
  EXPECT_EQ(runs[1].length, 200U);
  EXPECT_FALSE(runs[1].zero);
  EXPECT_EQ(runs[2].length, 600U);
  EXPECT_TRUE(runs[2].zero);
}

TEST(ZeroRuns, TheLastGrainMayBeShorter) {
  std::vector<std::byte> bytes(1000);
  bytes[999] = std::byte{1};
  EXPECT_EQ(first_zero_run(bytes, 300).length, 900U);
  EXPECT_EQ(first_zero_run(std::span(bytes).subspan(900), 300).length, 100U);
  EXPECT_EQ(first_zero_run(bytes, 4096).length, 1000U);
  EXPECT_FALSE(first_zero_run(bytes, 4096).zero);
}

}  // namespace
}  // namespace sluice::image
