// `sluice bench stack`: loads of every pattern, and stacks that cannot be measured.
#include "bench/load.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/registry.hpp"

namespace sluice::bench {
namespace {

using testing::HasSubstr;

Result<LoadFindings> measure(const std::string& spec, LoadPlan plan) {
  plan.milliseconds = 100;
  plan.runs = 2;
  return run_load(*parse_spec(spec, target_vocabulary()), plan, [](const std::string&) {});
}

void expect_error(const Result<LoadFindings>& found, int error, const std::string& text) {
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().error, error);
  EXPECT_THAT(found.error().text, HasSubstr(text));
}

class EachPattern : public testing::TestWithParam<LoadPlan> {};

TEST_P(EachPattern, IsMeasuredWithoutAllocations) {
  const auto found = measure("mem(8M)", GetParam());
  ASSERT_TRUE(found) << found.error().text;
  EXPECT_EQ(found->arena_overflows, 0U);
  EXPECT_EQ(found->size_bytes, 8U << 20);
  EXPECT_GT(found->requests, 0U);
  ASSERT_EQ(found->runs.size(), 2U);
  for (const LoadRun& run : found->runs) {
    EXPECT_GT(run.requests_per_s, 0);
    EXPECT_NEAR(run.mib_per_s * (1 << 20) / GetParam().block_bytes, run.requests_per_s,
                run.requests_per_s / 1000);
    EXPECT_GT(run.mean_us, 0);
    EXPECT_LE(run.p50_us, run.p99_us);
    EXPECT_LE(run.p99_us, run.longest_us);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Bench, EachPattern,
    testing::Values(LoadPlan{.kind = LoadKind::read, .random = false, .block_bytes = 64 << 10},
                    LoadPlan{.kind = LoadKind::read, .random = true},
                    LoadPlan{.kind = LoadKind::write, .random = false, .block_bytes = 512 << 10},
                    LoadPlan{.kind = LoadKind::write, .random = true, .depth = 1},
                    LoadPlan{.kind = LoadKind::mixed, .random = true, .depth = 8},
                    LoadPlan{.kind = LoadKind::mixed, .random = false, .depth = 2},
                    LoadPlan{.kind = LoadKind::read, .block_bytes = 512, .depth = 4, .queues = 3}));

TEST(BenchLoad, ARequestThatFailsEndsIt) {
  expect_error(measure("fault(mem(1M), errors=1)", {.depth = 4}), EIO, "a read of 4k at offset ");
  expect_error(measure("fault(mem(1M), errors=1, errno=ENOSPC)", {.kind = LoadKind::write}), ENOSPC,
               "a write of 4k at offset ");
}

// In sequence, each queue has its own part: of two blocks the second is the second queue's.
TEST(BenchLoad, QueuesGoThroughPartsOfTheirOwn) {
  LoadPlan plan{.random = false, .depth = 1, .queues = 2};
  const std::string bad = "fault(mem(8k), errors=1, offset=4k)";
  expect_error(measure(bad, plan), EIO, "a read of 4k at offset 4096 failed");
  plan.queues = 3;
  expect_error(measure("mem(8k)", plan), EINVAL, "too small to measure");
}

TEST(BenchLoad, RequestsMustFitTheStack) {
  expect_error(measure("mem(1M)", {.block_bytes = 1000}), EINVAL, "logical block is 512");
  expect_error(measure("mem(64k)", {.block_bytes = 512 << 10}), EINVAL, "it has 64 KiB");
}

TEST(BenchLoad, EachFigureHasAMedianOfItsOwn) {
  const LoadFindings found{.plan = {.kind = LoadKind::write, .depth = 8, .queues = 2},
                           .size_bytes = 1 << 30,
                           .runs = {{.requests_per_s = 30, .p99_us = 1},
                                    {.requests_per_s = 10, .p99_us = 2},
                                    {.requests_per_s = 20, .p99_us = 3}}};
  EXPECT_EQ(found.median().requests_per_s, 20);
  EXPECT_EQ(found.median().p99_us, 2);
  const std::string text = load_text(found);
  EXPECT_THAT(text, HasSubstr("randwrite, 4k each, 8 at a time on each of 2 queues, of 1 GiB"));
  EXPECT_THAT(text, HasSubstr("\nmedian |         20 |"));
  const JsonValue json = load_json(found);
  EXPECT_EQ(json.at("runs").items.size(), 3U);
  EXPECT_EQ(json.at("median").at("p99_us").get<double>(), 2);
}

}  // namespace
}  // namespace sluice::bench
