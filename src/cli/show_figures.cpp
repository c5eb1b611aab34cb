#include "cli/show_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr const char* kClasses[] = {"read", "write", "other"};
constexpr double kMebibyte = 1024 * 1024;

struct Bucket {
  uint64_t limit_ns;
  uint64_t count;
};

// Requests and bytes of a class; "other" is all that is neither read nor write.
uint64_t of_class(const json& by_op, std::string_view name) {
  uint64_t sum = 0;
  for (const auto& [op, value] : by_op.items()) {
    const bool is_other = op != "read" && op != "write";
    if (op == name || (is_other && name == "other")) sum += value.get<uint64_t>();
  }
  return sum;
}

std::string rows_of_queue(const std::string& queue, const json& figures) {
  std::string rows;
  for (const char* const name : kClasses) {
    const uint64_t requests = of_class(figures.at("requests"), name);
    if (requests == 0) continue;
    const json& latency = figures.at("latency").at(name);
    const bool timed = latency.at("count").get<uint64_t>() != 0;
    const auto time = [&](const char* key) {
      return timed ? shown_time(latency.at(key).get<uint64_t>()) : "-";
    };
    rows += fmt::format("\t{:<5} {:<5} {:>12} {:>16} {:>8} {:>8} {:>8} {:>8}\n", queue, name,
                        requests, of_class(figures.at("bytes"), name), time("p50_ns"),
                        time("p99_ns"), time("p999_ns"), time("max_ns"));
  }
  return rows;
}

// --- Prometheus

// What stands between the quotes of a label.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') result += '\\';
    result += c;
  }
  return result;
}

std::string labels(const json& device, const json& queue) {
  return fmt::format("device=\"{}\",queue=\"{}\"", escaped(device.at("device").get<std::string>()),
                     queue.at("queue").get<uint64_t>());
}

std::string family(std::string_view name, std::string_view type, std::string_view help) {
  return fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <typename Line>
std::string of_each_queue(std::span<const json> devices, Line line) {
  std::string text;
  for (const json& device : devices) {
    for (const json& queue : device.at("queues")) text += line(labels(device, queue), queue);
  }
  return text;
}

std::string by_op(std::span<const json> devices, std::string_view name, const char* key) {
  return of_each_queue(devices, [&](const std::string& label, const json& queue) {
    std::string text;
    for (const auto& [op, value] : queue.at(key).items()) {
      text += fmt::format("{}{{{},op=\"{}\"}} {}\n", name, label, op, value.get<uint64_t>());
    }
    return text;
  });
}

std::string by_queue(std::span<const json> devices, std::string_view name, const char* key) {
  return of_each_queue(devices, [&](const std::string& label, const json& queue) {
    return fmt::format("{}{{{}}} {}\n", name, label, queue.at(key).get<uint64_t>());
  });
}

constexpr std::string_view kDuration = "sluice_request_duration_seconds";

std::string duration_lines(const std::string& label, const json& latency) {
  // In nanoseconds, and as the label says it.
  static constexpr std::pair<uint64_t, const char*> kLimits[] = {
      {10'000, "1e-05"},       {20'000, "2e-05"},      {50'000, "5e-05"},
      {100'000, "0.0001"},     {200'000, "0.0002"},    {500'000, "0.0005"},
      {1'000'000, "0.001"},    {2'000'000, "0.002"},   {5'000'000, "0.005"},
      {10'000'000, "0.01"},    {20'000'000, "0.02"},   {50'000'000, "0.05"},
      {100'000'000, "0.1"},    {200'000'000, "0.2"},   {500'000'000, "0.5"},
      {1'000'000'000, "1.0"},  {2'000'000'000, "2.0"}, {5'000'000'000, "5.0"},
      {10'000'000'000, "10.0"}};
  std::string text;
  uint64_t below = 0;
  auto bucket = latency.at("buckets").begin();
  const auto end = latency.at("buckets").end();
  for (const auto& [limit, shown_limit] : kLimits) {
    for (; bucket != end && bucket->at(0).get<uint64_t>() <= limit; ++bucket) {
      below += bucket->at(1).get<uint64_t>();
    }
    text += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", kDuration, label, shown_limit, below);
  }
  const auto count = latency.at("count").get<uint64_t>();
  const double seconds = latency.at("sum_ns").get<double>() / 1e9;
  return text + fmt::format(
                    "{0}_bucket{{{1},le=\"+Inf\"}} {2}\n{0}_sum{{{1}}} {3:.9f}\n"
                    "{0}_count{{{1}}} {2}\n",
                    kDuration, label, count, seconds);
}

std::string durations(std::span<const json> devices) {
  return of_each_queue(devices, [](const std::string& label, const json& queue) {
    std::string text;
    for (const char* const name : kClasses) {
      text +=
          duration_lines(fmt::format("{},op=\"{}\"", label, name), queue.at("latency").at(name));
    }
    return text;
  });
}

// --- Rates

// What came between two histograms. Limits are the same in both but for rounding, so that the
// buckets are told apart by their order.
std::vector<Bucket> between(const json& before, const json& after) {
  std::vector<Bucket> buckets;
  auto old = before.begin();
  for (const json& each : after) {
    const auto limit = each.at(0).get<uint64_t>();
    uint64_t count = each.at(1).get<uint64_t>();
    while (old != before.end() && old->at(0).get<uint64_t>() < limit) ++old;
    if (old != before.end() && old->at(0).get<uint64_t>() == limit) {
      count -= std::min(count, old->at(1).get<uint64_t>());
    }
    if (count != 0) buckets.push_back({limit, count});
  }
  return buckets;
}

std::string shown_quantile(const std::vector<Bucket>& buckets, double share) {
  uint64_t count = 0;
  for (const Bucket& each : buckets) count += each.count;
  if (count == 0) return "-";
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count)));
  uint64_t passed = 0;
  for (const Bucket& each : buckets) {
    passed += each.count;
    if (passed >= wanted) return shown_time(each.limit_ns);
  }
  return shown_time(buckets.back().limit_ns);
}

double difference(uint64_t before, uint64_t after) {
  return after > before ? static_cast<double>(after - before) : 0;
}

}  // namespace

std::string figures_text(const json& figures) {
  const json& total = figures.at("total");
  std::string text =
      fmt::format("{}: mode {}, {} bytes copied by the server, {} errors, {} in flight\n",
                  printable(figures.at("device").get<std::string>(), std::string::npos),
                  figures.at("mode").get<std::string>(), total.at("copied_bytes").get<uint64_t>(),
                  total.at("errors").get<uint64_t>(), total.at("in_flight").get<uint64_t>());
  std::string rows;
  for (const json& queue : figures.at("queues")) {
    rows += rows_of_queue(fmt::format("{}", queue.at("queue").get<uint64_t>()), queue);
  }
  if (rows.empty()) return text;
  if (figures.at("queues").size() > 1) rows += rows_of_queue("all", total);
  return text +
         fmt::format("\t{:<5} {:<5} {:>12} {:>16} {:>8} {:>8} {:>8} {:>8}\n", "queue", "op", "I/Os",
                     "bytes", "p50", "p99", "p99.9", "max") +
         rows;
}

std::string figures_prometheus(std::span<const json> devices) {
  std::string text = family("sluice_device_info", "gauge", "What serves a device, always 1.");
  for (const json& device : devices) {
    text += fmt::format("sluice_device_info{{device=\"{}\",frontend=\"{}\",mode=\"{}\"}} 1\n",
                        escaped(device.at("device").get<std::string>()),
                        escaped(device.at("frontend").get<std::string>()),
                        escaped(device.at("mode").get<std::string>()));
  }
  text += family("sluice_requests_total", "counter", "Requests that came in.");
  text += by_op(devices, "sluice_requests_total", "requests");
  text += family("sluice_bytes_total", "counter", "Bytes that requests were about.");
  text += by_op(devices, "sluice_bytes_total", "bytes");
  text += family("sluice_errors_total", "counter", "Requests that failed.");
  text += by_queue(devices, "sluice_errors_total", "errors");
  text += family("sluice_copied_bytes_total", "counter", "Bytes that the server copied.");
  text += by_queue(devices, "sluice_copied_bytes_total", "copied_bytes");
  text += family("sluice_requests_in_flight", "gauge", "Requests being served.");
  text += by_queue(devices, "sluice_requests_in_flight", "in_flight");
  text += family(kDuration, "histogram", "Time in the server, of reads, writes and the others.");
  return text + durations(devices);
}

std::string rates_header() {
  return fmt::format("{:<16} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}\n",
                     "device", "r/s", "rMiB/s", "r_p50", "r_p99", "w/s", "wMiB/s", "w_p50", "w_p99",
                     "other/s", "in_flight", "copied/s");
}

std::string rates_line(const json& before, const json& after) {
  const double seconds = std::max(difference(before.at("time_ns").get<uint64_t>(),
                                             after.at("time_ns").get<uint64_t>()),
                                  1.0) /
                         1e9;
  const json& old = before.at("total");
  const json& now = after.at("total");
  const auto rate = [&](const char* key, const char* name) {
    return difference(of_class(old.at(key), name), of_class(now.at(key), name)) / seconds;
  };
  std::string line =
      fmt::format("{:<16}", printable(after.at("device").get<std::string>(), std::string::npos));
  for (const char* const name : {"read", "write"}) {
    const auto times =
        between(old.at("latency").at(name).at("buckets"), now.at("latency").at(name).at("buckets"));
    line += fmt::format(" {:>9.0f} {:>9.1f} {:>8} {:>8}", rate("requests", name),
                        rate("bytes", name) / kMebibyte, shown_quantile(times, 0.5),
                        shown_quantile(times, 0.99));
  }
  const double copied =
      difference(old.at("copied_bytes").get<uint64_t>(), now.at("copied_bytes").get<uint64_t>());
  return line + fmt::format(" {:>8.0f} {:>9} {:>8.1f}M\n", rate("requests", "other"),
                            now.at("in_flight").get<uint64_t>(), copied / seconds / kMebibyte);
}

std::string shown_time(uint64_t nanoseconds) {
  const auto value = static_cast<double>(nanoseconds);
  const auto digits = [](double number) { return number < 10 ? 2 : number < 100 ? 1 : 0; };
  const auto shown = [&](double unit, const char* name) {
    return fmt::format("{:.{}f}{}", value / unit, digits(value / unit), name);
  };
  if (nanoseconds == 0) return "0";
  if (value < 999.5e3) return shown(1e3, "us");
  if (value < 999.5e6) return shown(1e6, "ms");
  return shown(1e9, "s");
}

}  // namespace sluice::cli
