// What a configuration file says in the words of the command line.
#include "cli/add_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::cli::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto arguments = config_arguments(text, "/etc/sluice/a.json");
  EXPECT_FALSE(arguments.has_value()) << text;
  return arguments ? std::string() : arguments.error().text;
}

TEST(AddConfig, OptionsBecomeArguments) {
  const auto arguments = config_arguments(
      R"({"number": 3, "mode": "auto", "read_only": true, "json": false, "spec": "a.img"})", "x");
  ASSERT_TRUE(arguments.has_value());
  EXPECT_THAT(*arguments, ElementsAre("--number=3", "--mode=auto", "--read_only", "a.img"));
}

TEST(AddConfig, ASpecMayBeJsonAndAnOptionMayBeRepeated) {
  const auto arguments =
      config_arguments(R"({"spec": {"target": "null", "size": "1G"}, "file": ["a", "b"]})", "x");
  ASSERT_TRUE(arguments.has_value());
  EXPECT_THAT(*arguments, ElementsAre("--file=a", "--file=b", R"({"target":"null","size":"1G"})"));
}

TEST(AddConfig, WhatIsNoConfigurationIsRefused) {
  for (const char* const text : {"", "[]", "{", "7", "\xff", R"("a")"}) {
    EXPECT_THAT(refusal(text), HasSubstr("/etc/sluice/a.json cannot be used: it must be a JSON"));
  }
  EXPECT_THAT(refusal(R"({"-n": 3})"), HasSubstr("'-n' is no option's long name"));
  EXPECT_THAT(refusal(R"({"a=b": 3})"), HasSubstr("is no option's long name"));
  EXPECT_THAT(refusal(R"({"queues": {}})"), HasSubstr("must be a text, a number, true or false"));
  EXPECT_THAT(refusal(R"({"queues": null})"), HasSubstr("must be a text, a number"));
}

TEST(AddConfig, AMissingFileIsNamed) {
  const auto arguments = read_config("/no/such/file.json");
  ASSERT_FALSE(arguments.has_value());
  EXPECT_THAT(arguments.error().text, HasSubstr("/no/such/file.json cannot be used: No such file"));
}

}  // namespace
}  // namespace sluice::cli::test
