// The options of `sluice bench lend` and `sluice bench stack`.
#include "cli/bench_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/command.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli {
namespace {

using test::run_words;
using test::Words;
using testing::ElementsAre;

template <typename Read>
auto read_with(Read read, const Words& words) -> decltype(read(CommandLine("bench"))) {
  CommandLine line("bench");
  kBenchCommand.declare(line, words);
  if (auto parsed = line.parse(words); !parsed) return std::unexpected(parsed.error());
  return read(line);
}

Outcome<bench::Plan> plan_of(const Words& words) { return read_with(read_plan, words); }

Outcome<StackBench> stack_of(const Words& words) { return read_with(read_stack_bench, words); }

void expect_usage(const Words& words, const std::string& sentence) {
  const auto ended = run_words(words);
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(ended.error, "sluice: " + sentence + "\n");
  EXPECT_EQ(ended.out, "");
}

TEST(BenchOptions, HaveTheMailsDepthsUnlessGiven) {
  const auto plan = plan_of({"lend"});
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->depths, ElementsAre(1, 2, 4, 8, 16, 32));
  EXPECT_EQ(plan->milliseconds, 500U);
  EXPECT_EQ(plan->runs, 5U);
}

TEST(BenchOptions, AreTakenAsGiven) {
  const auto plan = plan_of(
      {"lend", "--seconds", "0.25", "--runs", "3", "--depths", "8,1,8", "--cpu", "1", "--json"});
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->depths, ElementsAre(1, 8));
  EXPECT_EQ(plan->milliseconds, 250U);
  EXPECT_EQ(plan->runs, 3U);
  EXPECT_EQ(plan->processor, 1);
  EXPECT_EQ(plan->pages, bench::Pages::memory);
  EXPECT_EQ(plan_of({"lend", "--ublk"})->pages, bench::Pages::ublk);
}

TEST(BenchOptions, ThatAreWrongAreNamedInASentence) {
  expect_usage({"bench"},
               "nothing to measure: use 'sluice bench lend' or 'sluice bench stack SPEC'");
  expect_usage({"bench", "disk"}, "'sluice bench' measures 'lend' or 'stack', not 'disk'");
  for (const char* const seconds : {"0", "-1", "soon", "1s", "nan", "3601"}) {
    expect_usage(
        {"bench", "lend", std::string("--seconds=") + seconds},
        std::string("--seconds takes a number from 0.01 to 3600, found '") + seconds + "'");
  }
  expect_usage({"bench", "lend", "--runs", "0"},
               "--runs takes a whole number from 1 to 1000, found '0'");
  for (const char* const depths : {"0", "129", "1,,2", "1,", "1-8", "many"}) {
    expect_usage({"bench", "lend", "--depths", depths},
                 std::string("--depths takes numbers from 1 to 128 with commas between them, such "
                             "as 1,8,32, found '") +
                     depths + "'");
  }
}

TEST(BenchStackOptions, AreARandomReadUnlessGiven) {
  const auto read = stack_of({"stack", "null(1G)"});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->spec.target, "null");
  EXPECT_EQ(bench::pattern_of(read->plan), "randread");
  EXPECT_EQ(read->plan.block_bytes, 4096U);
  EXPECT_EQ(read->plan.depth, 32);
  EXPECT_EQ(read->plan.queues, 1);
  EXPECT_EQ(read->plan.milliseconds, 1000U);
  EXPECT_EQ(read->plan.runs, 5U);
}

TEST(BenchStackOptions, AreTakenAsGiven) {
  const auto read =
      stack_of({"stack", "--pattern", "write", "--overwrite", "--block", "512k", "--depth", "8",
                "--queues", "4", "--seconds", "0.2", "--runs", "2", "--json", "mem(1G)"});
  ASSERT_TRUE(read);
  EXPECT_EQ(bench::pattern_of(read->plan), "write");
  EXPECT_EQ(read->plan.block_bytes, 512U << 10);
  EXPECT_EQ(read->plan.depth, 8);
  EXPECT_EQ(read->plan.queues, 4);
  EXPECT_EQ(read->plan.milliseconds, 200U);
  EXPECT_EQ(read->plan.runs, 2U);
}

TEST(BenchStackOptions, ThatAreWrongAreNamedInASentence) {
  expect_usage({"bench", "stack"}, "nothing to measure: use 'sluice bench stack SPEC'");
  expect_usage({"bench", "stack", "--pattern", "backwards", "null(1G)"},
               "--pattern takes read, write, rw, randread, randwrite or randrw, found 'backwards'");
  expect_usage({"bench", "stack", "--block", "256", "null(1G)"},
               "--block takes a size from 512 to 32M, found '256'");
  expect_usage({"bench", "stack", "--depth", "0", "null(1G)"},
               "--depth takes a whole number from 1 to 4096, found '0'");
  expect_usage({"bench", "stack", "--queues", "65", "null(1G)"},
               "--queues takes a whole number from 1 to 64, found '65'");
  expect_usage({"bench", "stack", "--seconds", "0", "null(1G)"},
               "--seconds takes a number from 0.01 to 3600, found '0'");
  expect_usage({"bench", "stack", "--block", "32M", "--depth", "33", "null(1G)"},
               "1 queue with 33 requests of 32M takes 1056M of memory: the limit is 1G");
}

TEST(BenchStackOptions, DoNotDestroyDataByMistake) {
  for (const char* const pattern : {"write", "rw", "randwrite", "randrw"}) {
    expect_usage({"bench", "stack", "--pattern", pattern, "null(1G)"},
                 std::string("--pattern ") + pattern +
                     " destroys the data of the stack: add --overwrite if that is meant");
  }
}

TEST(BenchStackOptions, AWrongSpecIsAFailure) {
  const auto ended = run_words({"bench", "stack", "raid(disk)"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.error.find("'raid'"), std::string::npos) << ended.error;
  EXPECT_EQ(ended.out, "");
}

TEST(BenchStackOptions, AreNotThoseOfLend) {
  EXPECT_EQ(run_words({"bench", "stack", "--ublk", "null(1G)"}).code, 2);
  EXPECT_EQ(run_words({"bench", "lend", "--overwrite"}).code, 2);
}

TEST(BenchStackOptions, OfARunThatFailsGiveAFailure) {
  const auto ended = run_words({"bench", "stack", "--block", "1000", "mem(1M)"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.error,
            "sluice: requests of 1000 do not fit the stack, whose logical block is 512\n");
}

}  // namespace
}  // namespace sluice::cli
