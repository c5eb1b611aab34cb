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

Outcome<uint32_t> read_milliseconds(const CommandLine& line, uint32_t fallback) {
  if (!line.has("seconds")) return fallback;
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

}  // namespace

Outcome<bench::Plan> read_plan(const CommandLine& line) {
  if (line.word() != "lend") {
    return usage(line.word()
                     ? fmt::format("'sluice bench' measures 'lend', not {}", shown(*line.word()))
                     : "nothing to measure: use 'sluice bench lend'");
  }
  for (const char* const option : {"depths", "cpu", "ublk"}) {
    if (line.has("file") && line.has(option)) {
      return usage(fmt::format("--{} does not go with --file", option));
    }
  }
  bench::Plan plan;
  const auto milliseconds = read_milliseconds(line, plan.milliseconds);
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
