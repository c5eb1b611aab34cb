// Sizes: every accepted form, every refused form, and formatting.
#include "spec/size.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>

namespace sluice::test {
namespace {

void expect_size(std::string_view text, uint64_t bytes) {
  const Result<uint64_t> size = parse_size(text);
  ASSERT_TRUE(size.has_value()) << text << ": " << size.error().text;
  EXPECT_EQ(*size, bytes) << text;
}

void expect_refused(std::string_view text, int error, std::string_view why) {
  const Result<uint64_t> size = parse_size(text);
  ASSERT_FALSE(size.has_value()) << text << " became " << *size;
  EXPECT_EQ(size.error().error, error) << text;
  EXPECT_NE(size.error().text.find(why), std::string::npos) << size.error().text;
}

TEST(Size, ReadsEveryUnit) {
  expect_size("0", 0);
  expect_size("4096", 4096);
  expect_size("4096b", 4096);
  expect_size("4096B", 4096);
  expect_size("3s", 1536);
  expect_size("64k", 65536);
  expect_size("64K", 65536);
  expect_size("64KiB", 65536);
  expect_size("64kiB", 65536);
  expect_size("2m", uint64_t{2} << 20);
  expect_size("2M", uint64_t{2} << 20);
  expect_size("250G", uint64_t{250} << 30);
  expect_size("1GiB", uint64_t{1} << 30);
  expect_size("3T", uint64_t{3} << 40);
  expect_size("5P", uint64_t{5} << 50);
  expect_size("5PiB", uint64_t{5} << 50);
}

TEST(Size, IgnoresWhiteSpaceAround) {
  expect_size(" 64k ", 65536);
  expect_size("\t1\n", 1);
}

TEST(Size, ReadsFractionsOfWholeBytes) {
  expect_size("1.5G", uint64_t{1536} << 20);
  expect_size("0.5k", 512);
  expect_size("1.25s", 640);
  expect_size("1.50000000000000000000000000000k", 1536);
  expect_size("7.0", 7);
  expect_size("0.0009765625P", uint64_t{1} << 40);
}

TEST(Size, RefusesFractionsOfAByte) {
  expect_refused("0.3k", EINVAL, "whole number of bytes");
  expect_refused("1.5", EINVAL, "whole number of bytes");
  expect_refused("0.0001s", EINVAL, "whole number of bytes");
}

TEST(Size, RefusesWhatIsNoSize) {
  for (const std::string_view text :
       {"",       " ",    "k",      "-1",    "+1", "10X", "0x10", "1e3", "1 k", "1.",        ".5k",
        "1.5.5k", "1,5k", "64kiBs", "64KIB", "1E", "1kk", "ss",   "inf", "nan", "1\xC2\xA0k"}) {
    expect_refused(text, EINVAL, "is not a size: write a number");
  }
  expect_refused(std::string_view("1\0k", 3), EINVAL, "'1\\x00k' is not a size");
}

TEST(Size, RefusesUnitsThatCouldMeanTwoThings) {
  for (const std::string_view text : {"64kB", "64KB", "1MB", "1Mb", "2GB", "2TB", "2PB"}) {
    expect_refused(text, EINVAL, "powers of 1000 or of 1024");
  }
}

TEST(Size, RefusesWhatDoesNotFit) {
  expect_size("9223372036854775807", kSizeMax);
  expect_size("8191P", uint64_t{8191} << 50);
  expect_size("8191.9990234375P", (uint64_t{8192} << 50) - (uint64_t{1} << 40));
  expect_refused("9223372036854775808", ERANGE, "too large");
  expect_refused("18446744073709551615", ERANGE, "too large");
  expect_refused("18446744073709551616", ERANGE, "too large");
  expect_refused("8192P", ERANGE, "too large");
  expect_refused("16384P", ERANGE, "too large");
  expect_refused("99999999999999999999999999999999999999999999999999P", ERANGE, "too large");
  expect_refused("99999999999999999999999999999999999999999999999999X", EINVAL, "not a size");
}

TEST(Size, NamesThePlaceInTheError) {
  EXPECT_EQ(
      parse_size("10X", " at column 8").error().text,
      "'10X' at column 8 is not a size: write a number with an optional unit k, M, G, T or P, "
      "such as 64k or 1.5G");
}

TEST(Size, FormatsExactly) {
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_size(1000), "1000");
  EXPECT_EQ(format_size(65536), "64k");
  EXPECT_EQ(format_size(uint64_t{1536} << 20), "1536M");
  EXPECT_EQ(format_size(uint64_t{1} << 50), "1P");
  EXPECT_EQ(format_size(uint64_t{1} << 62), "4096P");
  EXPECT_EQ(format_size(kSizeMax), "9223372036854775807");
}

TEST(Size, ReadsBackWhatItFormats) {
  constexpr uint64_t kSeed = 20240607;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 10000; ++round) {
    const uint64_t bytes = (random() >> (1 + random() % 63)) << (random() % 12) & kSizeMax;
    expect_size(format_size(bytes), bytes);
  }
}

TEST(Size, IsShortInATable) {
  EXPECT_EQ(short_size(0), "0B");
  EXPECT_EQ(short_size(1023), "1023B");
  EXPECT_EQ(short_size(1024), "1K");
  EXPECT_EQ(short_size(1610612736), "1.5G");
  EXPECT_EQ(short_size((uint64_t{1} << 20) - 1), "1M");
  EXPECT_EQ(short_size(kSizeMax), "8E");
}

TEST(Size, AdvisesWhatIsNotRefusedAgain) {
  EXPECT_EQ(advise_multiple(1000, 512, 512), "give 512 or 1024");
  EXPECT_EQ(advise_multiple(100, 512, 0), "give 0 or 512");
  EXPECT_EQ(advise_multiple(100, 512, 512), "give 512");
  EXPECT_EQ(advise_multiple(kSizeMax, 512, 512), "give 9223372036854775296");
  EXPECT_EQ(advise_multiple(1000, 512, 512, 1000), "give 512");
  EXPECT_EQ(advise_multiple(1000, 512, 512, 1024), "give 512 or 1024");
  EXPECT_EQ(advise_multiple(1000, 4096, 4096, 1000), "there is no room for any");
}

TEST(Size, DescribesForPeople) {
  EXPECT_EQ(describe_size(0), "0 bytes");
  EXPECT_EQ(describe_size(1), "1 byte");
  EXPECT_EQ(describe_size(1023), "1023 bytes");
  EXPECT_EQ(describe_size(1024), "1 KiB");
  EXPECT_EQ(describe_size(1610612736), "1.5 GiB");
  EXPECT_EQ(describe_size((uint64_t{1} << 20) - 1), "1 MiB");
  EXPECT_EQ(describe_size(uint64_t{250} << 30), "250 GiB");
  EXPECT_EQ(describe_size(1000000), "976.6 KiB");
  EXPECT_EQ(describe_size(kSizeMax), "8 EiB");
  EXPECT_EQ(describe_size(UINT64_MAX), "16 EiB");
}

}  // namespace
}  // namespace sluice::test
