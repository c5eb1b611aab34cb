// Numbers, sizes, masks and lists of processors on the command line are read exactly, or refused.
#include "cli/values.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::cli::test {
namespace {

CommandLine parsed_line(std::vector<std::string> words) {
  CommandLine line("test");
  line.add({.letter = 'n', .name = "number", .value = "ID"});
  line.add({.name = "max_io", .value = "SIZE"});
  line.add({.name = "mask", .value = "MASK"});
  line.add({.letter = 'r', .name = "recovery", .value = "0|1"});
  EXPECT_TRUE(line.parse(std::move(words)).has_value());
  return line;
}

TEST(Values, ReadsWholeNumbers) {
  const Range range{2, 10};
  EXPECT_EQ(read_number(parsed_line({}), "number", 5, range), 5U);
  EXPECT_EQ(read_number(parsed_line({"-n", "2"}), "number", 5, range), 2U);
  EXPECT_EQ(read_number(parsed_line({"-n10"}), "number", 5, range), 10U);
  EXPECT_EQ(read_number(parsed_line({"--number=007"}), "number", 5, range), 7U);
}

TEST(Values, TheLastOfSeveralCounts) {
  EXPECT_EQ(read_number(parsed_line({"-n", "1", "--number", "2"}), "number", 0, {}), 2U);
}

TEST(Values, RefusesWhatIsNoWholeNumber) {
  for (const char* const text : {"", " 1", "1 ", "+1", "-1", "1.0", "0x1", "10X", "1e1", "ten",
                                 "18446744073709551616", "99999999999999999999999"}) {
    const auto number = read_number(parsed_line({"-n", text}), "number", 0, {});
    ASSERT_FALSE(number.has_value()) << text;
    EXPECT_EQ(number.error().exit, Exit::usage);
    EXPECT_THAT(number.error().text, testing::StartsWith("-n takes a whole number from 0 to "));
  }
}

TEST(Values, RefusesNumbersOutOfRange) {
  for (const char* const text : {"1", "11"}) {
    const auto number = read_number(parsed_line({"-n", text}), "number", 5, {2, 10});
    ASSERT_FALSE(number.has_value()) << text;
    EXPECT_EQ(number.error().text,
              fmt::format("-n takes a whole number from 2 to 10, found '{}'", text));
  }
}

TEST(Values, ReadsSizes) {
  const Range range{4096, 1 << 25};
  EXPECT_EQ(read_size(parsed_line({"--max-io", "512k"}), "max_io", 0, range), 524288U);
  EXPECT_EQ(read_size(parsed_line({"--max_io=4096"}), "max_io", 0, range), 4096U);
  EXPECT_EQ(read_size(parsed_line({}), "max_io", 1, range), 1U);
  const auto wrong = read_size(parsed_line({"--max_io", "10X"}), "max_io", 0, range);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_THAT(wrong.error().text, testing::StartsWith("'10X' for --max_io is not a size"));
  const auto large = read_size(parsed_line({"--max_io", "33M"}), "max_io", 0, range);
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().text, "--max_io takes a size from 4k to 32M, found '33M'");
}

TEST(Values, ReadsSwitches) {
  EXPECT_EQ(read_switch(parsed_line({}), "recovery"), false);
  EXPECT_EQ(read_switch(parsed_line({"-r", "0"}), "recovery"), false);
  EXPECT_EQ(read_switch(parsed_line({"-r1"}), "recovery"), true);
  for (const char* const text : {"2", "yes", "01", "-1"}) {
    EXPECT_FALSE(read_switch(parsed_line({"-r", text}), "recovery").has_value()) << text;
  }
}

TEST(Values, ReadsMasksAsUblkDoes) {
  EXPECT_EQ(read_mask(parsed_line({}), "mask"), 0U);
  EXPECT_EQ(read_mask(parsed_line({"--mask", "0x1f"}), "mask"), 0x1fU);
  EXPECT_EQ(read_mask(parsed_line({"--mask", "10"}), "mask"), 0x10U);
  EXPECT_EQ(read_mask(parsed_line({"--mask", "0XFFFFFFFF"}), "mask"), UINT32_MAX);
  for (const char* const text : {"0x", "x1", "100000000", "-1", "0x-1", "g"}) {
    EXPECT_FALSE(read_mask(parsed_line({"--mask", text}), "mask").has_value()) << text;
  }
}

TEST(Values, ReadsDeviceNumbers) {
  EXPECT_EQ(read_id(parsed_line({})), std::nullopt);
  EXPECT_EQ(read_id(parsed_line({"-n0"})), 0U);
  EXPECT_EQ(read_id(parsed_line({"-n", "1048575"})), 1048575U);
  EXPECT_FALSE(read_id(parsed_line({"-n", "1048576"})).has_value());
  EXPECT_FALSE(read_id(parsed_line({"-n", "-1"})).has_value());
}

TEST(Values, ReadsListsOfProcessors) {
  using Processors = std::vector<int>;
  EXPECT_EQ(parse_processors("0"), Processors({0}));
  EXPECT_EQ(parse_processors("0-3,8"), Processors({0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_processors("8,0-1"), Processors({0, 1, 8}));
  EXPECT_EQ(parse_processors("1,1,0-1"), Processors({0, 1}));
  EXPECT_EQ(parse_processors("[0,1]"), Processors({0, 1}));
  EXPECT_EQ(parse_processors("1023"), Processors({1023}));
}

TEST(Values, RefusesWhatIsNoListOfProcessors) {
  for (const char* const text : {"",
                                 ",",
                                 "0,",
                                 ",0",
                                 "0,,1",
                                 "-1",
                                 "1-",
                                 "3-1",
                                 "1024",
                                 "0-1024",
                                 "0-99999999999999999999",
                                 "a",
                                 "0 1",
                                 " 0",
                                 "0-1-2",
                                 "[0",
                                 "0]",
                                 "[]",
                                 "[0],[1]",
                                 "0x1",
                                 "all"}) {
    const auto processors = parse_processors(text);
    ASSERT_FALSE(processors.has_value()) << text;
    EXPECT_EQ(processors.error().exit, Exit::usage);
    EXPECT_THAT(processors.error().text, testing::HasSubstr("not a list of processors")) << text;
  }
}

}  // namespace
}  // namespace sluice::cli::test
