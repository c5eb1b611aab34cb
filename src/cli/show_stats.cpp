#include "cli/show_stats.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "core/health.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kClasses[] = {"read", "write", "other"};
constexpr double kMebibyte = 1024 * 1024;

struct Bucket {
  uint64_t limit_ns;
  uint64_t count;
};

// Requests and bytes of a class; "other" is everything but reads and writes.
uint64_t of_class(const JsonValue& by_op, std::string_view name) {
  uint64_t sum = 0;
  for (const JsonValue& each : by_op.items) {
    const bool is_other = each.name != "read" && each.name != "write";
    if (each.name == name || (is_other && name == "other")) sum += each.get<uint64_t>();
  }
  return sum;
}

// Empty for a server that does not report it.
std::string swap_line(const JsonValue& stats) {
  if (!stats.contains("swap_safe")) return {};
  const auto risks = stats.at("swap_risks").get<std::vector<std::string>>();
  if (risks.empty()) return "\tswap safe: yes\n";
  const std::string reasons = fmt::format("{}", fmt::join(risks, "; "));
  return fmt::format("\tswap safe: no ({})\n", printable(reasons, std::string::npos));
}

// The health of a stack that is not ok, and the numbers of its targets. Empty for a server that
// does not report it.
std::string health_lines(const JsonValue& stats) {
  if (!stats.contains("health")) return {};
  const JsonValue& health = stats.at("health");
  const auto state = health.at("state").get<std::string>();
  std::string text;
  if (state != to_string(HealthState::ok)) {
    text += fmt::format("\thealth: {} ({})\n", printable(state, std::string::npos),
                        printable(health.at("reason").get<std::string>(), std::string::npos));
  }
  for (const JsonValue& target : health.at("targets").items) {
    std::string numbers;
    for (const JsonValue& number : target.at("numbers").items) {
      numbers += fmt::format("{}{} {}", numbers.empty() ? "" : ", ",
                             printable(number.at("name").get<std::string>(), std::string::npos),
                             number.at("value").get<uint64_t>());
    }
    if (numbers.empty()) continue;
    text += fmt::format(
        "\t{}: {}\n", printable(target.at("name").get<std::string>(), std::string::npos), numbers);
  }
  return text;
}

std::string rows_of_queue(const std::string& queue, const JsonValue& stats) {
  std::string rows;
  for (const char* const name : kClasses) {
    const uint64_t requests = of_class(stats.at("requests"), name);
    if (requests == 0) continue;
    const JsonValue& latency = stats.at("latency").at(name);
    const bool timed = latency.at("count").get<uint64_t>() != 0;
    const auto time = [&](const char* key) {
      return timed ? shown_time(latency.at(key).get<uint64_t>()) : "-";
    };
    rows += fmt::format("\t{:<5} {:<5} {:>12} {:>15} {:>7} {:>7} {:>7} {:>7}\n", queue, name,
                        requests, of_class(stats.at("bytes"), name), time("p50_ns"), time("p99_ns"),
                        time("p999_ns"), time("max_ns"));
  }
  return rows;
}

// --- Prometheus

// Escapes the value of a label.
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

std::string labels(const JsonValue& device, const JsonValue& queue) {
  return fmt::format("device=\"{}\",queue=\"{}\"", escaped(device.at("device").get<std::string>()),
                     queue.at("queue").get<uint64_t>());
}

std::string family(std::string_view name, std::string_view type, std::string_view help) {
  return fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <typename Line>
std::string of_each_queue(std::span<const JsonValue> devices, Line line) {
  std::string text;
  for (const JsonValue& device : devices) {
    for (const JsonValue& queue : device.at("queues").items)
      text += line(labels(device, queue), queue);
  }
  return text;
}

std::string by_op(std::span<const JsonValue> devices, std::string_view name, const char* key) {
  return of_each_queue(devices, [&](const std::string& label, const JsonValue& queue) {
    std::string text;
    for (const JsonValue& each : queue.at(key).items) {
      text += fmt::format("{}{{{},op=\"{}\"}} {}\n", name, label, each.name, each.get<uint64_t>());
    }
    return text;
  });
}

std::string by_queue(std::span<const JsonValue> devices, std::string_view name, const char* key) {
  return of_each_queue(devices, [&](const std::string& label, const JsonValue& queue) {
    return fmt::format("{}{{{}}} {}\n", name, label, queue.at(key).get<uint64_t>());
  });
}

constexpr std::string_view kDuration = "sluice_request_duration_seconds";

std::string duration_lines(const std::string& label, const JsonValue& latency) {
  // In nanoseconds, and as label text.
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
  const std::vector<JsonValue>& buckets = latency.at("buckets").items;
  auto bucket = buckets.begin();
  for (const auto& [limit, shown_limit] : kLimits) {
    for (; bucket != buckets.end() && bucket->at(0).get<uint64_t>() <= limit; ++bucket) {
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

std::string health_states(std::span<const JsonValue> devices) {
  std::string text = family("sluice_device_health", "gauge", "1 for the state of its health.");
  for (const JsonValue& device : devices) {
    if (!device.contains("health")) continue;
    const auto now = device.at("health").at("state").get<std::string>();
    for (const HealthState state : kHealthStates) {
      text += fmt::format("sluice_device_health{{device=\"{}\",state=\"{}\"}} {}\n",
                          escaped(device.at("device").get<std::string>()), to_string(state),
                          now == to_string(state) ? 1 : 0);
    }
  }
  return text;
}

// A number's name as part of a metric's.
std::string metric_name(const JsonValue& number) {
  std::string name = "sluice_target_" + number.at("name").get<std::string>();
  for (char& c : name) {
    const bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (!fits) c = '_';
  }
  return number.at("kind").get<std::string>() == "counter" ? name + "_total" : name;
}

// A family for each number that a target of any device has.
std::string target_numbers(std::span<const JsonValue> devices) {
  struct Family {
    std::string type;
    std::string lines;
  };
  std::map<std::string, Family> families;
  for (const JsonValue& device : devices) {
    if (!device.contains("health")) continue;
    for (const JsonValue& target : device.at("health").at("targets").items) {
      for (const JsonValue& number : target.at("numbers").items) {
        const std::string name = metric_name(number);
        Family& found = families[name];
        if (found.type.empty()) found.type = number.at("kind").get<std::string>();
        found.lines += fmt::format("{}{{device=\"{}\",target=\"{}\"}} {}\n", name,
                                   escaped(device.at("device").get<std::string>()),
                                   escaped(target.at("name").get<std::string>()),
                                   number.at("value").get<uint64_t>());
      }
    }
  }
  std::string text;
  for (const auto& [name, each] : families) {
    text += family(name, each.type, "A number of a target.") + each.lines;
  }
  return text;
}

std::string durations(std::span<const JsonValue> devices) {
  return of_each_queue(devices, [](const std::string& label, const JsonValue& queue) {
    std::string text;
    for (const char* const name : kClasses) {
      text +=
          duration_lines(fmt::format("{},op=\"{}\"", label, name), queue.at("latency").at(name));
    }
    return text;
  });
}

// --- Rates

// The difference of two histograms. Their limits are equal except for rounding, so buckets are
// matched by order.
std::vector<Bucket> between(const JsonValue& before, const JsonValue& after) {
  std::vector<Bucket> buckets;
  auto old = before.items.begin();
  for (const JsonValue& each : after.items) {
    const auto limit = each.at(0).get<uint64_t>();
    uint64_t count = each.at(1).get<uint64_t>();
    while (old != before.items.end() && old->at(0).get<uint64_t>() < limit) ++old;
    if (old != before.items.end() && old->at(0).get<uint64_t>() == limit) {
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

// In at most this many columns: "12345", "123k", "1.2M".
std::string short_count(double number, size_t columns) {
  std::string text = fmt::format("{:.0f}", number);
  for (const char unit : {'k', 'M', 'G'}) {
    if (text.size() <= columns) break;
    number /= 1000;
    text = fmt::format("{:.{}f}{}", number, number < 9.95 ? 1 : 0, unit);
  }
  return text;
}

std::string mebibytes(double bytes) {
  const double number = bytes / kMebibyte;
  return fmt::format("{:.{}f}", number, number < 999.95 ? 1 : 0);
}

// The part of a path that fits the column and distinguishes devices.
std::string short_path(std::string path) {
  constexpr size_t kColumns = 10;
  if (path.starts_with("/dev/")) path.erase(0, 5);
  path = printable(path, std::string::npos);
  if (path.size() <= kColumns) return path;
  size_t begin = path.size() - (kColumns - 3);
  while ((static_cast<unsigned char>(path[begin]) & 0xC0) == 0x80) ++begin;
  return fmt::format("...{}", path.substr(begin));
}

}  // namespace

std::string stats_text(const JsonValue& stats) {
  const JsonValue& total = stats.at("total");
  std::string text =
      fmt::format("{}: mode {}, {} bytes copied by the server, {} errors, {} in flight\n",
                  printable(stats.at("device").get<std::string>(), std::string::npos),
                  stats.at("mode").get<std::string>(), total.at("copied_bytes").get<uint64_t>(),
                  total.at("errors").get<uint64_t>(), total.at("in_flight").get<uint64_t>());
  text += swap_line(stats);
  text += health_lines(stats);
  std::string rows;
  for (const JsonValue& queue : stats.at("queues").items) {
    rows += rows_of_queue(fmt::format("{}", queue.at("queue").get<uint64_t>()), queue);
  }
  if (rows.empty()) return text;
  if (stats.at("queues").items.size() > 1) rows += rows_of_queue("all", total);
  return text +
         fmt::format("\t{:<5} {:<5} {:>12} {:>15} {:>7} {:>7} {:>7} {:>7}\n", "queue", "op", "I/Os",
                     "bytes", "p50", "p99", "p99.9", "max") +
         rows;
}

std::string stats_prometheus(std::span<const JsonValue> devices) {
  std::string text = family("sluice_device_info", "gauge", "Information about a device, always 1.");
  for (const JsonValue& device : devices) {
    text += fmt::format("sluice_device_info{{device=\"{}\",frontend=\"{}\",mode=\"{}\"}} 1\n",
                        escaped(device.at("device").get<std::string>()),
                        escaped(device.at("frontend").get<std::string>()),
                        escaped(device.at("mode").get<std::string>()));
  }
  text += family("sluice_device_swap_safe", "gauge", "Whether it can hold swap space.");
  for (const JsonValue& device : devices) {
    if (!device.contains("swap_safe")) continue;
    text += fmt::format("sluice_device_swap_safe{{device=\"{}\"}} {}\n",
                        escaped(device.at("device").get<std::string>()),
                        device.at("swap_safe").get<bool>() ? 1 : 0);
  }
  text += health_states(devices);
  text += target_numbers(devices);
  text += family("sluice_requests_total", "counter", "Requests received.");
  text += by_op(devices, "sluice_requests_total", "requests");
  text += family("sluice_bytes_total", "counter", "Bytes of the requests received.");
  text += by_op(devices, "sluice_bytes_total", "bytes");
  text += family("sluice_errors_total", "counter", "Requests that failed.");
  text += by_queue(devices, "sluice_errors_total", "errors");
  text += family("sluice_copied_bytes_total", "counter", "Bytes copied by the server.");
  text += by_queue(devices, "sluice_copied_bytes_total", "copied_bytes");
  text += family("sluice_requests_in_flight", "gauge", "Requests in flight.");
  text += by_queue(devices, "sluice_requests_in_flight", "in_flight");
  text +=
      family(kDuration, "histogram", "Time in the server, of reads, writes and other requests.");
  return text + durations(devices);
}

std::string rates_header() {
  return fmt::format("{:<8} {:<10} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>5} {:>4} {:>6}\n", "time",
                     "device", "r/s", "rMiB/s", "r_p99", "w/s", "wMiB/s", "w_p99", "oth/s", "pend",
                     "cMiB/s");
}

std::string rates_line(std::string_view time, const JsonValue& before, const JsonValue& after) {
  const double seconds = std::max(difference(before.at("time_ns").get<uint64_t>(),
                                             after.at("time_ns").get<uint64_t>()),
                                  1.0) /
                         1e9;
  const JsonValue& old = before.at("total");
  const JsonValue& now = after.at("total");
  const auto rate = [&](const char* key, const char* name) {
    return difference(of_class(old.at(key), name), of_class(now.at(key), name)) / seconds;
  };
  std::string line =
      fmt::format("{:<8} {:<10}", time, short_path(after.at("device").get<std::string>()));
  for (const char* const name : {"read", "write"}) {
    const auto times =
        between(old.at("latency").at(name).at("buckets"), now.at("latency").at(name).at("buckets"));
    line += fmt::format(" {:>6} {:>6} {:>6}", short_count(rate("requests", name), 6),
                        mebibytes(rate("bytes", name)), shown_quantile(times, 0.99));
  }
  const double copied =
      difference(old.at("copied_bytes").get<uint64_t>(), now.at("copied_bytes").get<uint64_t>());
  return line + fmt::format(" {:>5} {:>4} {:>6}\n", short_count(rate("requests", "other"), 5),
                            short_count(now.at("in_flight").get<double>(), 4),
                            mebibytes(copied / seconds));
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
