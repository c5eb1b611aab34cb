// The findings of a load as text and as JSON.
#include <fmt/format.h>

#include <utility>

#include "bench/contest.hpp"
#include "bench/load.hpp"
#include "spec/size.hpp"

namespace sluice::bench {
namespace {

struct Figure {
  const char* name;   // in JSON
  const char* title;  // of the column
  double LoadRun::* value;
  int decimals;
};

constexpr Figure kFigures[] = {
    {"requests_per_s", "requests/s", &LoadRun::requests_per_s, 0},
    {"mib_per_s", "MiB/s", &LoadRun::mib_per_s, 0},
    {"mean_us", "mean, us", &LoadRun::mean_us, 1},
    {"p50_us", "p50, us", &LoadRun::p50_us, 1},
    {"p99_us", "p99, us", &LoadRun::p99_us, 1},
    {"longest_us", "longest, us", &LoadRun::longest_us, 0},
    {"cpu_us_per_request", "CPU, us/request", &LoadRun::cpu_us_per_request, 2},
    {"cpu_s_per_gib", "CPU, s/GiB", &LoadRun::cpu_s_per_gib, 3},
};

std::string row(const std::string& name, const LoadRun& run) {
  std::string text = fmt::format("{:<6}", name);
  for (const Figure& figure : kFigures) {
    text += fmt::format(" | {:>{}.{}f}", run.*figure.value, std::string_view(figure.title).size(),
                        figure.decimals);
  }
  return text + "\n";
}

JsonValue json_of(const LoadRun& run) {
  JsonValue json = JsonValue::object();
  for (const Figure& figure : kFigures) json.set(figure.name, run.*figure.value);
  return json;
}

}  // namespace

LoadRun LoadFindings::median() const {
  LoadRun middle;
  for (const Figure& figure : kFigures) {
    std::vector<double> values;
    values.reserve(runs.size());
    for (const LoadRun& run : runs) values.push_back(run.*figure.value);
    if (!values.empty()) middle.*figure.value = bench::median(std::move(values));
  }
  return middle;
}

std::string pattern_of(const LoadPlan& plan) {
  const char* const kind = plan.kind == LoadKind::mixed  ? "rw"
                           : plan.kind == LoadKind::read ? "read"
                                                         : "write";
  return fmt::format("{}{}", plan.random ? "rand" : "", kind);
}

std::string load_text(const LoadFindings& found) {
  const LoadPlan& plan = found.plan;
  std::string text = fmt::format(
      "{}, {} each, {} at a time on each of {} queue{}, of {}; runs of {} s\n\nrun   ",
      pattern_of(plan), format_size(plan.block_bytes), plan.depth, plan.queues,
      plan.queues == 1 ? "" : "s", describe_size(found.size_bytes), plan.milliseconds / 1000.0);
  for (const Figure& figure : kFigures) text += fmt::format(" | {}", figure.title);
  text += "\n";
  for (size_t i = 0; i < found.runs.size(); ++i) {
    text += row(fmt::format("{}", i + 1), found.runs[i]);
  }
  return text + row("median", found.median());
}

JsonValue load_json(const LoadFindings& found) {
  const LoadPlan& plan = found.plan;
  JsonValue runs = JsonValue::array();
  for (const LoadRun& run : found.runs) runs.push_back(json_of(run));
  return {{"pattern", pattern_of(plan)},
          {"block_bytes", plan.block_bytes},
          {"depth", plan.depth},
          {"queues", plan.queues},
          {"size_bytes", uint64_t{found.size_bytes}},
          {"seconds", plan.milliseconds / 1000.0},
          {"requests", found.requests},
          {"arena_overflows", found.arena_overflows},
          {"median", json_of(found.median())},
          {"runs", std::move(runs)}};
}

}  // namespace sluice::bench
