#include "daemon/figures.hpp"

#include "core/ticks.hpp"

namespace sluice {
namespace {

using nlohmann::json;

constexpr const char* kClassNames[kLatencyClasses] = {"read", "write", "other"};

json buckets_json(const LatencyFigures& figures) {
  json pairs = json::array();
  for (size_t i = 0; i < figures.counts.size(); ++i) {
    if (figures.counts[i] == 0) continue;
    const uint64_t limit = TickScale::process().nanoseconds(LatencyBuckets::last_of(i));
    pairs.push_back(json::array({limit, figures.counts[i]}));
  }
  return pairs;
}

json latency_json(const LatencyFigures& figures, bool buckets) {
  const TickScale& scale = TickScale::process();
  json value = {
      {"count", figures.count},
      {"sum_ns", scale.nanoseconds(figures.sum)},
      {"p50_ns", scale.nanoseconds(figures.quantile(0.5))},
      {"p99_ns", scale.nanoseconds(figures.quantile(0.99))},
      {"p999_ns", scale.nanoseconds(figures.quantile(0.999))},
      {"max_ns", scale.nanoseconds(figures.longest)},
  };
  if (buckets) value["buckets"] = buckets_json(figures);
  return value;
}

}  // namespace

json report_json(const QueueReport& report, bool buckets) {
  json requests;
  json bytes;
  for (size_t op = 0; op < kOpCount; ++op) {
    const char* const name = to_string(static_cast<Op>(op));
    requests[name] = report.op_requests[op];
    bytes[name] = report.op_bytes[op];
  }
  json latency;
  for (size_t i = 0; i < kLatencyClasses; ++i) {
    latency[kClassNames[i]] = latency_json(report.latency[i], buckets);
  }
  return {
      {"in_flight", report.in_flight},       {"requests", std::move(requests)},
      {"bytes", std::move(bytes)},           {"errors", report.errors},
      {"copied_bytes", report.copied_bytes}, {"arena_overflows", report.arena_overflows},
      {"latency", std::move(latency)},
  };
}

}  // namespace sluice
