// The command line as a whole: exit codes, and the stream of each output.
#include "cli/cli.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/command.hpp"
#include "cli/file_output.hpp"
#include "core/descriptor.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

void expect_usage_of(const Words& words, const std::string& sentence) {
  const Ended ended = run_words(words);
  EXPECT_EQ(ended.code, 2) << testing::PrintToString(words);
  EXPECT_EQ(ended.out, "") << testing::PrintToString(words);
  EXPECT_EQ(ended.error, "sluice: " + sentence + "\n") << testing::PrintToString(words);
}

TEST(Cli, TellsItsVersion) {
  for (const char* const word : {"--version", "-v"}) {
    const Ended ended = run_words({word});
    EXPECT_EQ(ended.code, 0);
    EXPECT_THAT(ended.out, StartsWith("sluice "));
    EXPECT_EQ(ended.error, "");
  }
}

TEST(Cli, HelpListsTheCommands) {
  for (const char* const word : {"help", "--help", "-h"}) {
    const Ended ended = run_words({word});
    EXPECT_EQ(ended.code, 0);
    for (const Command* const command : commands()) {
      EXPECT_THAT(ended.out, HasSubstr(std::string("\n  ").append(command->name)));
    }
  }
}

TEST(Cli, EveryCommandHasHelp) {
  for (const Command* const command : commands()) {
    const std::string name(command->name);
    const Ended asked = run_words({name, "--help"});
    EXPECT_EQ(asked.code, 0) << name;
    EXPECT_THAT(asked.out, StartsWith("usage: sluice " + name));
    EXPECT_EQ(asked.error, "");
    EXPECT_EQ(run_words({name, "-h"}).out, asked.out);
    EXPECT_EQ(run_words({"help", name}).out, asked.out);
    const std::vector<std::string> lines = [&] {
      std::istringstream text(asked.out);
      std::vector<std::string> split;
      for (std::string line; std::getline(text, line);) split.push_back(line);
      return split;
    }();
    for (const std::string& line : lines) EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(Cli, HelpOfATargetListsItsOptions) {
  EXPECT_THAT(run_words({"help", "-t", "stripe"}).out, HasSubstr("--chunk SIZE"));
  EXPECT_THAT(run_words({"add", "-t", "stripe", "--help"}).out, HasSubstr("--chunk SIZE"));
  EXPECT_EQ(run_words({"help", "-t", "strip"}).code, 1);
  EXPECT_EQ(run_words({"help", "-t", "null", "list"}).code, 2);
}

TEST(Cli, UnknownWordsGetTheNearest) {
  expect_usage_of({}, "no command given: 'sluice help' lists them");
  expect_usage_of({"lsit"}, "unknown command 'lsit': did you mean 'list'?");
  expect_usage_of({"frobnicate"}, "unknown command 'frobnicate': 'sluice help' lists all");
  expect_usage_of({"help", "ad"}, "unknown command 'ad': did you mean 'add'?");
  expect_usage_of({"--json"}, "unknown option '--json': 'sluice help' lists all");
  expect_usage_of({"list", "--jsno"},
                  "unknown option '--jsno' of 'sluice list': did you mean '--json'?");
  expect_usage_of({"list", "-x"}, "unknown option '-x' of 'sluice list' (see 'sluice help list')");
  expect_usage_of({"list", "3", "4"}, "unexpected argument '4' (see 'sluice help list')");
  expect_usage_of({"list", "-n", "3", "4"}, "unexpected argument '4' (see 'sluice help list')");
  expect_usage_of({"features", "3"}, "unexpected argument '3' (see 'sluice help features')");
  expect_usage_of({"--version", "x"}, "unexpected argument 'x'");
}

TEST(Cli, CommandsSayWhatTheyNeed) {
  expect_usage_of({"del"}, "'sluice del' needs a DEVICE, or -a for all devices");
  expect_usage_of({"del", "-n0", "-a"}, "a DEVICE and -a exclude each other: choose one");
  expect_usage_of({"del", "0", "-a"}, "a DEVICE and -a exclude each other: choose one");
  const std::string id = " needs a DEVICE: its number, name or path ('sluice list' shows them)";
  expect_usage_of({"recover"}, "'sluice recover'" + id);
  expect_usage_of({"set_affinity", "-q0", "--cpuset", "0"}, "'sluice set_affinity'" + id);
  expect_usage_of({"set-affinity", "-n0", "--cpuset", "0"},
                  "'sluice set_affinity' needs -q QUEUE, from 0");
  expect_usage_of({"set_affinity", "-n0", "-q0"},
                  "'sluice set_affinity' needs --cpuset LIST, such as 0-3,8");
  expect_usage_of({"set_affinity", "-n0", "-q0", "--cpuset", "1-0"},
                  "'1-0' is not a list of processors such as 0-3,8: '1-0' is a descending range");
}

TEST(Cli, ErrorsAreOneLine) {
  for (const Words& words : {Words{"add", "null(\n\nsize=\x1b[2J)"}, Words{"add", "-t", "a\nb"},
                             Words{"a\nb"}, Words{"list", "--a\nb"}, Words{"add", "{\n\"x\"\n}"}}) {
    const Ended ended = run_words(words);
    EXPECT_NE(ended.code, 0);
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(std::ranges::count(ended.error, '\n'), 1) << ended.error;
    EXPECT_FALSE(ended.error.contains('\x1b'));
  }
}

TEST(Cli, OutputThatCannotBeWrittenIsAFailure) {
  std::istringstream in;
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  std::ostringstream error;
  EXPECT_EQ(run({"targets"}, {in, out, error}), 1);
  EXPECT_THAT(error.str(), StartsWith("sluice: cannot write to the standard output"));
}

TEST(Cli, AFullOutputIsSaidToBeFull) {
  const Descriptor full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  for (const size_t bytes : {size_t{1}, size_t{5} << 20}) {
    FileOutput output(full.number());
    std::ostream out(&output);
    out << std::string(bytes, 'x');
    EXPECT_EQ(output.error(), bytes == 1 ? 0 : ENOSPC) << "written when it is much";
    std::istringstream in;
    std::ostringstream error;
    EXPECT_EQ(run({"targets"}, {in, out, error}), 1);
    EXPECT_EQ(error.str(),
              "sluice: cannot write to the standard output: No space left on device\n");
  }
}

TEST(Cli, TargetsCanBeAskedFor) {
  EXPECT_EQ(run_words({"targets"}).code, 0);
  EXPECT_THAT(run_words({"targets", "null"}).out, StartsWith("null: "));
  EXPECT_THAT(run_words({"targets", "--json", "null"}).out,
              StartsWith("[\n  {\n    \"name\": \"null\""));
  EXPECT_EQ(run_words({"targets", "nul"}).error,
            "sluice: unknown target 'nul': did you mean 'null'? ('sluice targets' lists all)\n");
}

}  // namespace
}  // namespace sluice::cli::test
