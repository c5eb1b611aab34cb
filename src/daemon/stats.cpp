#include "daemon/stats.hpp"

#include "core/cycle_clock.hpp"

namespace sluice {
namespace {

constexpr const char* kClassNames[kLatencyClasses] = {"read", "write", "other"};

JsonValue buckets_json(const LatencyStats& stats) {
  JsonValue pairs = JsonValue::array();
  for (size_t i = 0; i < stats.counts.size(); ++i) {
    if (stats.counts[i] == 0) continue;
    const uint64_t limit = CycleScale::process().nanoseconds(LatencyBuckets::last_of(i));
    pairs.push_back(JsonValue::array({limit, stats.counts[i]}));
  }
  return pairs;
}

JsonValue latency_json(const LatencyStats& stats, bool buckets) {
  const CycleScale& scale = CycleScale::process();
  JsonValue value = {
      {"count", stats.count},
      {"sum_ns", scale.nanoseconds(stats.sum)},
      {"p50_ns", scale.nanoseconds(stats.quantile(0.5))},
      {"p99_ns", scale.nanoseconds(stats.quantile(0.99))},
      {"p999_ns", scale.nanoseconds(stats.quantile(0.999))},
      {"max_ns", scale.nanoseconds(stats.longest)},
  };
  if (buckets) value.set("buckets", buckets_json(stats));
  return value;
}

}  // namespace

JsonValue report_json(const QueueReport& report, bool buckets) {
  JsonValue requests;
  JsonValue bytes;
  for (size_t op = 0; op < kOpCount; ++op) {
    const char* const name = to_string(static_cast<Op>(op));
    requests.set(name, report.op_requests[op]);
    bytes.set(name, report.op_bytes[op]);
  }
  JsonValue latency;
  for (size_t i = 0; i < kLatencyClasses; ++i) {
    latency.set(kClassNames[i], latency_json(report.latency[i], buckets));
  }
  return {
      {"in_flight", report.in_flight},       {"requests", std::move(requests)},
      {"bytes", std::move(bytes)},           {"errors", report.errors},
      {"copied_bytes", report.copied_bytes}, {"arena_overflows", report.arena_overflows},
      {"latency", std::move(latency)},
  };
}

JsonValue health_json(const StackHealth& health) {
  JsonValue targets = JsonValue::array();
  for (const TargetHealth& target : health.targets) {
    JsonValue numbers = JsonValue::array();
    for (const HealthNumber& number : target.health.numbers) {
      const bool counts = number.kind == HealthNumber::Kind::counter;
      numbers.push_back(
          {{"name", number.name}, {"kind", counts ? "counter" : "gauge"}, {"value", number.value}});
    }
    targets.push_back({{"name", target.name},
                       {"state", to_string(target.health.state)},
                       {"reason", target.health.reason},
                       {"numbers", std::move(numbers)}});
  }
  return {{"state", to_string(health.state)},
          {"reason", health.reason},
          {"targets", std::move(targets)}};
}

}  // namespace sluice
