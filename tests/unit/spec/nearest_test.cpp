// Suggestions for mistyped words: close words are found, distant ones are not suggested.
#include "spec/nearest.hpp"

#include <gtest/gtest.h>

#include <array>

namespace sluice::test {
namespace {

constexpr std::array<std::string_view, 6> kWords = {"stripe", "mirror", "mem",
                                                    "null",   "chunk",  "buffered_io"};

TEST(Nearest, FindsATypo) {
  EXPECT_EQ(nearest_match("strip", kWords), "stripe");
  EXPECT_EQ(nearest_match("tsripe", kWords), "stripe");
  EXPECT_EQ(nearest_match("chnk", kWords), "chunk");
  EXPECT_EQ(nearest_match("bufered_io", kWords), "buffered_io");
  EXPECT_EQ(nearest_match("mme", kWords), "");
  EXPECT_EQ(nearest_match("men", kWords), "mem");
}

TEST(Nearest, IgnoresCase) {
  EXPECT_EQ(nearest_match("STRIPE", kWords), "stripe");
  EXPECT_EQ(nearest_match("Nul", kWords), "null");
}

TEST(Nearest, DoesNotGuessFar) {
  EXPECT_EQ(nearest_match("", kWords), "");
  EXPECT_EQ(nearest_match("x", kWords), "");
  EXPECT_EQ(nearest_match("concat", kWords), "");
  EXPECT_EQ(nearest_match(std::string(100000, 'a'), kWords), "");
  EXPECT_EQ(nearest_match("stripe", {}), "");
  // These words have only their length in common.
  const std::array<std::string_view, 2> letters = {"a", "bc"};
  EXPECT_EQ(nearest_match("b", letters), "");
}

TEST(Nearest, PrefersTheNearer) {
  const std::array<std::string_view, 3> words = {"strips", "stripe", "tripe"};
  EXPECT_EQ(nearest_match("stripe", words), "stripe");
  EXPECT_EQ(nearest_match("stripd", words), "strips");  // the first of two equally close words
}

TEST(Nearest, AsksInWords) {
  EXPECT_EQ(did_you_mean("strip", kWords), "did you mean 'stripe'?");
  EXPECT_EQ(did_you_mean("concat", kWords), "");
}

}  // namespace
}  // namespace sluice::test
