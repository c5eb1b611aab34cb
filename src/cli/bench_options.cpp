#include "cli/bench_options.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>

#include "cli/values.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr double kShortest = 0.01;  // seconds
constexpr double kLongest = 3600;

constexpr std::string_view kLend = "lend";
constexpr std::string_view kStack = "stack";

// Ascending, without duplicates.
Outcome<std::vector<uint32_t>> read_depths(const CommandLine& line,
                                           std::vector<uint32_t> fallback) {
  if (!line.has("depths")) return fallback;
  const std::string text = line.text("depths");
  std::vector<uint32_t> depths;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const auto depth = parse_digits(std::string_view(text).substr(begin, comma - begin));
    if (!depth || *depth == 0 || *depth > bench::Plan::kMaxDepth) {
      return usage(
          fmt::format("--depths takes numbers from 1 to {} with commas between them, "
                      "such as 1,8,32, found {}",
                      bench::Plan::kMaxDepth, shown(text)));
    }
    depths.push_back(static_cast<uint32_t>(*depth));
    begin = comma + 1;
  }
  std::ranges::sort(depths);
  const auto doubles = std::ranges::unique(depths);
  depths.erase(doubles.begin(), doubles.end());
  return depths;
}

void declare_lend(CommandLine& line) {
  line.add({.name = "depths", .value = "LIST", .help = "requests at a time (1,2,4,8,16,32)"});
  line.add({.name = "cpu", .value = "N", .help = "processor to run on (default: the current one)"});
  line.add({.name = "file",
            .value = "FILE",
            .help = "measure FILE at 64K and 512K instead, lent and copied; overwrites it"});
  line.add({.name = "ublk", .help = "lend pages of requests of a temporary ublk device"});
}

void declare_stack(CommandLine& line) {
  line.add({.name = "pattern",
            .value = "PATTERN",
            .help = "[rand]read, [rand]write or [rand]rw, half of each (randread)"});
  line.add({.name = "block", .value = "SIZE", .help = "of each request (4k)"});
  line.add({.name = "depth", .value = "N", .help = "requests at a time of each queue (32)"});
  line.add({.name = "queues", .value = "N", .help = "threads, each with its own ring (1)"});
  line.add({.name = "overwrite", .help = "allow patterns that write: they destroy the data"});
}

}  // namespace

void declare_bench(CommandLine& line, std::span<const std::string> arguments) {
  const auto named = std::ranges::find_if(
      arguments, [](const std::string& word) { return word == kLend || word == kStack; });
  const bool both = named == arguments.end();
  const bool lends = both || *named == kLend;
  const bool stacks = both || *named == kStack;
  line.add_word("lend|stack");
  if (stacks) line.add_word("SPEC");
  line.add({.name = "seconds",
            .value = "S",
            .help = fmt::format("length of each run ({})", both    ? "lend: 0.5, stack: 1"
                                                           : lends ? "0.5"
                                                                   : "1")});
  line.add({.name = "runs",
            .value = "N",
            .help = lends ? "runs of each column at each depth (5)" : "number of runs (5)"});
  if (lends) declare_lend(line);
  if (stacks) declare_stack(line);
  line.add({.name = "json", .help = "print all values as an object"});
}

Outcome<BenchSubject> read_subject(const CommandLine& line) {
  if (line.word() == kLend) return BenchSubject::lend;
  if (line.word() == kStack) return BenchSubject::stack;
  return usage(line.word() ? fmt::format("'sluice bench' measures 'lend' or 'stack', not {}",
                                         shown(*line.word()))
                           : "nothing to measure: use 'sluice bench lend' or 'sluice bench stack "
                             "SPEC'");
}

Outcome<uint32_t> read_seconds(const CommandLine& line, uint32_t fallback_ms) {
  if (!line.has("seconds")) return fallback_ms;
  const std::string text = line.text("seconds");
  double seconds = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = error == std::errc() && stop == text.data() + text.size();
  if (whole && seconds >= kShortest && seconds <= kLongest) {
    return static_cast<uint32_t>(seconds * 1000);
  }
  return usage(fmt::format("--seconds takes a number from {} to {}, found {}", kShortest, kLongest,
                           shown(text)));
}

Outcome<bench::Plan> read_plan(const CommandLine& line) {
  for (const char* const option : {"depths", "cpu", "ublk"}) {
    if (line.has("file") && line.has(option)) {
      return usage(fmt::format("--{} does not go with --file", option));
    }
  }
  bench::Plan plan;
  const auto milliseconds = read_seconds(line, plan.milliseconds);
  if (!milliseconds) return std::unexpected(milliseconds.error());
  const auto runs = read_number(line, "runs", plan.runs, {1, 1000});
  if (!runs) return std::unexpected(runs.error());
  const auto depths = read_depths(line, plan.depths);
  if (!depths) return std::unexpected(depths.error());
  const auto here = static_cast<uint64_t>(std::max(sched_getcpu(), 0));
  const auto processor = read_number(line, "cpu", here, {0, CPU_SETSIZE - 1});
  if (!processor) return std::unexpected(processor.error());
  plan.milliseconds = *milliseconds;
  plan.runs = static_cast<uint32_t>(*runs);
  plan.depths = *depths;
  plan.processor = static_cast<int>(*processor);
  if (line.has("ublk")) plan.pages = bench::Pages::ublk;
  return plan;
}

}  // namespace sluice::cli
