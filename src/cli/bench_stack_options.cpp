// The options of `sluice bench stack`.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/bench_options.hpp"
#include "cli/values.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

using bench::LoadKind;

constexpr uint64_t kSmallestBlock = 512;
constexpr uint64_t kLargestBlock = 32 << 20;
constexpr uint64_t kMostMemory = 1 << 30;  // of all requests

struct Pattern {
  std::string_view name;
  LoadKind kind;
  bool random;
};

constexpr auto kPatterns = std::to_array<Pattern>({{"read", LoadKind::read, false},
                                                   {"write", LoadKind::write, false},
                                                   {"rw", LoadKind::mixed, false},
                                                   {"randread", LoadKind::read, true},
                                                   {"randwrite", LoadKind::write, true},
                                                   {"randrw", LoadKind::mixed, true}});

Outcome<Pattern> read_pattern(const CommandLine& line) {
  const std::string name = line.text("pattern", "randread");
  const auto* const found = std::ranges::find(kPatterns, name, &Pattern::name);
  if (found != kPatterns.end()) return *found;
  return usage(fmt::format(
      "--pattern takes read, write, rw, randread, randwrite or randrw, found {}", shown(name)));
}

// Refuses what would take more memory than anybody means.
Outcome<void> check_memory(const bench::LoadPlan& plan) {
  const uint64_t bytes = uint64_t{plan.block_bytes} * plan.depth * plan.queues;
  if (bytes <= kMostMemory) return {};
  return usage(fmt::format("{} queue{} with {} requests of {} take{} {} of memory: the limit is {}",
                           plan.queues, plan.queues == 1 ? "" : "s", plan.depth,
                           format_size(plan.block_bytes), plan.queues == 1 ? "s" : "",
                           format_size(bytes), format_size(kMostMemory)));
}

Outcome<bench::LoadPlan> read_load_plan(const CommandLine& line) {
  bench::LoadPlan plan;
  const auto pattern = read_pattern(line);
  if (!pattern) return std::unexpected(pattern.error());
  const auto block = read_size(line, "block", plan.block_bytes, {kSmallestBlock, kLargestBlock});
  if (!block) return std::unexpected(block.error());
  const auto depth = read_number(line, "depth", plan.depth, {1, 4096});
  if (!depth) return std::unexpected(depth.error());
  const auto queues = read_number(line, "queues", plan.queues, {1, 64});
  if (!queues) return std::unexpected(queues.error());
  const auto milliseconds = read_seconds(line, plan.milliseconds);
  if (!milliseconds) return std::unexpected(milliseconds.error());
  const auto runs = read_number(line, "runs", plan.runs, {1, 1000});
  if (!runs) return std::unexpected(runs.error());
  plan = {.kind = pattern->kind,
          .random = pattern->random,
          .block_bytes = static_cast<uint32_t>(*block),
          .depth = static_cast<uint16_t>(*depth),
          .queues = static_cast<uint16_t>(*queues),
          .milliseconds = *milliseconds,
          .runs = static_cast<uint32_t>(*runs)};
  if (auto fits = check_memory(plan); !fits) return std::unexpected(fits.error());
  return plan;
}

}  // namespace

Outcome<StackBench> read_stack_bench(const CommandLine& line) {
  const auto plan = read_load_plan(line);
  if (!plan) return std::unexpected(plan.error());
  if (line.words().size() < 2) return usage("nothing to measure: use 'sluice bench stack SPEC'");
  if (plan->kind != LoadKind::read && !line.has("overwrite")) {
    return usage(
        fmt::format("--pattern {} destroys the data of the stack: add --overwrite if "
                    "that is meant",
                    bench::pattern_of(*plan)));
  }
  auto spec = parse_spec(line.words()[1], target_vocabulary());
  if (!spec) return failed(spec.error());
  return StackBench{.spec = std::move(*spec), .plan = *plan};
}

}  // namespace sluice::cli
