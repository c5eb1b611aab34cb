// Configuration files: their members have the names of command line options.
#include "cli/add_config.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto arguments = config_arguments(text, "/etc/sluice/a.json");
  EXPECT_FALSE(arguments.has_value()) << text;
  return arguments ? std::string() : arguments.error().text;
}

Words arguments_of(std::string_view text) {
  const auto arguments = config_arguments(text, "x");
  EXPECT_TRUE(arguments.has_value()) << text << arguments.error().text;
  return arguments ? *arguments : Words();
}

TEST(AddConfig, OptionsBecomeArguments) {
  EXPECT_THAT(
      arguments_of(
          R"({"number": 3, "mode": "auto", "read_only": true, "json": false, "spec": "a.img"})"),
      ElementsAre("--number=3", "--mode=auto", "--read_only", "--", "a.img"));
  EXPECT_THAT(arguments_of(R"({"max-io-buf-bytes": "1M", "spec": "--odd.img"})"),
              ElementsAre("--max_io_buf_bytes=1M", "--", "--odd.img"));
  for (const char* const name : {"tls-psk", "tls_psk"}) {
    EXPECT_THAT(arguments_of(fmt::format(R"({{"{}": "keys", "spec": "a.img"}})", name)),
                ElementsAre("--tls-psk=keys", "--", "a.img"));
  }
}

TEST(AddConfig, SnapshotIsAFlagWhateverTheTarget) {
  EXPECT_THAT(arguments_of(R"({"type": "qcow2", "file": "/a", "snapshot": true})"),
              ElementsAre("--type=qcow2", "--file=/a", "--snapshot"));
  EXPECT_EQ(refusal(R"({"type": "qcow2", "file": "/a", "snapshot": "first"})"),
            "the configuration /etc/sluice/a.json cannot be used: 'snapshot' must be true or false"
            " (or 1 or 0), found 'first'");
}

TEST(AddConfig, ASpecMayBeJsonAndAnOptionMayBeRepeated) {
  EXPECT_THAT(arguments_of(R"({"spec": {"target": "null", "size": "1G"}, "file": ["a", "b"]})"),
              ElementsAre("--file=a", "--file=b", "--", R"({"target":"null","size":"1G"})"));
  EXPECT_THAT(arguments_of(R"({"spec": {"target": "linear", "size": 1e3, "offset": -1,
                                        "children": ["a\n", true, null]}})"),
              ElementsAre("--", R"({"target":"linear","size":1e3,"offset":-1,)"
                                R"("children":["a\n",true,null]})"));
}

TEST(AddConfig, AFlagIsTrueOrOneAndASwitchLikewise) {
  for (const char* const yes : {"true", "1", "\"1\"", "\"yes\""}) {
    EXPECT_THAT(arguments_of(fmt::format(R"({{"read_only": {0}, "user_recovery": {0}}})", yes)),
                ElementsAre("--read_only", "--user_recovery=1"));
  }
  for (const char* const no : {"false", "0", "\"no\""}) {
    EXPECT_THAT(arguments_of(fmt::format(R"({{"read_only": {0}, "user_recovery": {0}}})", no)),
                ElementsAre("--user_recovery=0"));
  }
  EXPECT_THAT(arguments_of(R"({"type": "loop", "buffered_io": 1})"),
              ElementsAre("--type=loop", "--buffered_io"));
  EXPECT_THAT(arguments_of(R"({"type": "loop", "buffered_io": false})"),
              ElementsAre("--type=loop", "--buffered_io=no"));
  EXPECT_THAT(refusal(R"({"read_only": 2})"),
              HasSubstr("'read_only' must be true or false (or 1 or 0), found '2'"));
  EXPECT_THAT(refusal(R"({"user_recovery": []})"), HasSubstr("must be true or false"));
}

TEST(AddConfig, WhatIsNoConfigurationIsRefused) {
  for (const char* const text : {"[]", "7", R"("a")"}) {
    EXPECT_THAT(refusal(text), HasSubstr("/etc/sluice/a.json cannot be used: it must be a JSON"));
  }
  EXPECT_THAT(refusal(R"({"queues": {}})"),
              HasSubstr("'queues' must be COUNT, a text or a number"));
  EXPECT_THAT(refusal(R"({"queues": null})"), HasSubstr("'queues' must be COUNT, a text"));
  EXPECT_THAT(refusal(R"({"queues": [1, 2]})"), HasSubstr("'queues' must be COUNT, a text"));
  EXPECT_THAT(refusal(R"({"queues": true})"), HasSubstr("'queues' must be COUNT, a text"));
}

TEST(AddConfig, ASyntaxErrorHasAPlace) {
  EXPECT_THAT(refusal("{\n  \"spec\": \"a.img\",\n}"), HasSubstr("at line 3, column 1"));
  EXPECT_THAT(refusal("{\"number\": 3"), HasSubstr("at line 1, column 13"));
  EXPECT_THAT(refusal(""), HasSubstr("this is not JSON"));
  EXPECT_THAT(refusal("{} {}"), HasSubstr("at line 1, column 4"));
  EXPECT_THAT(refusal("{\"spec\": \"\xff\"}"), HasSubstr("this is not JSON"));
  for (const char* const text : {"", "{", "{]"}) {
    EXPECT_THAT(refusal(text), testing::Not(HasSubstr("json.exception")));
  }
}

TEST(AddConfig, AKeyThatIsThereTwiceIsRefused) {
  const std::string twice = " occurs twice: give it once";
  EXPECT_THAT(refusal(R"({"number": 1, "number": 2})"), HasSubstr("'number'" + twice));
  EXPECT_THAT(refusal(R"({"spec": "a", "spec": "b"})"), HasSubstr("'spec'" + twice));
  EXPECT_THAT(refusal(R"({"max_io_buf_bytes": 1, "max-io-buf-bytes": 2})"),
              HasSubstr("'max-io-buf-bytes'" + twice));
}

TEST(AddConfig, AnUnknownKeyGetsTheNearest) {
  EXPECT_THAT(refusal(R"({"quues": 3})"),
              HasSubstr("'quues' is not the long name of an option: did you mean 'queues'?"));
  EXPECT_THAT(refusal(R"({"spek": "a"})"), HasSubstr("did you mean 'spec'?"));
  EXPECT_THAT(refusal(R"({"frobnicate": 3})"), HasSubstr("'sluice help add' lists them"));
  for (const char* const name : {"-n", "--number", "a=b", ""}) {
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": 3}})", name)),
                HasSubstr("is not the long name of an option"));
  }
  EXPECT_THAT(refusal(R"({"type": "null", "chunk": "64k"})"),
              HasSubstr("--chunk is an option of stripe, not of null"));
}

TEST(AddConfig, AMissingFileIsNamed) {
  const auto arguments = read_config("/no/such/file.json");
  ASSERT_FALSE(arguments.has_value());
  EXPECT_THAT(arguments.error().text, HasSubstr("/no/such/file.json cannot be used: No such file"));
}

}  // namespace
}  // namespace sluice::cli::test
