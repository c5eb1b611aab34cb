// The options of `sluice bench lend`.
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

Outcome<bench::Plan> plan_of(const Words& words) {
  CommandLine line("bench");
  kBenchCommand.declare(line, words);
  if (auto parsed = line.parse(words); !parsed) return std::unexpected(parsed.error());
  return read_plan(line);
}

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
  expect_usage({"bench"}, "nothing to measure: use 'sluice bench lend'");
  expect_usage({"bench", "disk"}, "'sluice bench' measures 'lend', not 'disk'");
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

}  // namespace
}  // namespace sluice::cli
