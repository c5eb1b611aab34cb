// `sluice stat`.
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <future>
#include <map>
#include <thread>

#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/show.hpp"
#include "cli/show_stats.hpp"
#include "cli/values.hpp"
#include "daemon/ask.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr uint64_t kLongestSeconds = 86400;
constexpr int kLinesBetweenHeaders = 20;
constexpr std::chrono::milliseconds kTimeoutForMany{2'000};

// The collected stats, and whether every server answered.
struct Asked {
  std::vector<JsonValue> devices;
  bool all_answered = true;
};

// Read once, used for every round.
struct Options {
  std::optional<uint32_t> id;  // nullopt: all devices
  uint64_t seconds = 1;
  bool buckets = false;
};

Outcome<Options> read_options(const CommandLine& line);
Outcome<Asked> ask_devices(const Options& options, const Streams& streams);
Outcome<void> show_once(const CommandLine& line, const Options& options, const Streams& streams);
Outcome<void> watch(const CommandLine& line, const Options& options, const Streams& streams);

void declare_stat(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "only this device: its number, name or path");
  line.add({.name = "json", .help = "print all values as an array"});
  line.add({.name = "prometheus", .help = "print the text format of Prometheus"});
  line.add({.name = "watch", .help = "print rates every SECONDS (1), until interrupted"});
  line.add_word("SECONDS");
}

Outcome<void> stat(const CommandLine& line, const Streams& streams) {
  if (line.has("json") && line.has("prometheus")) {
    return usage("--json and --prometheus exclude each other: choose one");
  }
  const auto options = read_options(line);
  if (!options) return std::unexpected(options.error());
  try {
    return line.has("watch") ? watch(line, *options, streams) : show_once(line, *options, streams);
  } catch (const JsonMismatch&) {
    return failed("a server's reply about its stats is not understood: it is of another version");
  }
}

// With --watch a bare number is SECONDS; a device's number needs -n.
Outcome<Options> read_options(const CommandLine& line) {
  Options options;
  std::span<const std::string> words = line.words();
  const bool watches = line.has("watch");
  const bool is_number =
      !words.empty() && words[0].find_first_not_of("0123456789.") == std::string::npos;
  const bool names_device = line.has("number") || words.size() > 1 || !(watches && is_number);
  if (names_device) {
    const auto device = read_device(line);
    if (!device) return std::unexpected(device.error());
    options.id = device->id;
    words = device->rest;
  }
  options.buckets = line.has("prometheus") || (watches && !line.has("json"));
  if (words.empty()) return options;
  if (!watches || words.size() > 1) {
    return usage(
        fmt::format("unexpected argument {} (SECONDS goes with --watch)", shown(words.back())));
  }
  options.seconds = parse_digits(words[0]).value_or(0);
  if (options.seconds != 0 && options.seconds <= kLongestSeconds) return options;
  return usage(fmt::format("SECONDS is {}, but must be a whole number from 1 to {}",
                           shown(words[0]), kLongestSeconds));
}

Outcome<void> show_once(const CommandLine& line, const Options& options, const Streams& streams) {
  const auto asked = ask_devices(options, streams);
  if (!asked) return std::unexpected(asked.error());
  if (line.has("prometheus")) {
    streams.out << stats_prometheus(asked->devices);
  } else if (line.has("json")) {
    streams.out << written(Json(asked->devices));
  } else {
    for (const JsonValue& device : asked->devices) streams.out << stats_text(device);
  }
  if (!asked->all_answered) return failed(std::string());
  return {};
}

// All in parallel, with a short timeout if there are several: a server that does not answer does
// not delay the others.
Outcome<Asked> ask_devices(const Options& options, const Streams& streams) {
  std::vector<uint32_t> ids;
  std::vector<Error> failures;
  Asked asked;
  if (options.id) {
    ids.push_back(*options.id);
  } else {
    const auto files = read_state_files();
    if (!files) return failed(files.error());
    for (const DeviceRecord& record : files->records) ids.push_back(record.id);
    for (const UnusableRecord& each : files->unusable) say(streams, each.why.text);
    asked.all_answered = files->unusable.empty();
    if (ids.empty() && asked.all_answered) say(streams, "no devices");
  }
  const JsonValue request = {{"command", "stat"}, {"buckets", options.buckets}};
  const auto timeout = options.id ? kAskTimeout : kTimeoutForMany;
  std::vector<std::future<Result<JsonValue>>> replies;
  for (const uint32_t id : ids) {
    replies.push_back(std::async([id, &request, timeout] { return ask(id, request, timeout); }));
  }
  for (auto& each : replies) {
    auto reply = each.get();
    if (reply) {
      reply->erase("ok");
      asked.devices.push_back(std::move(*reply));
    } else {
      failures.push_back(reply.error());
    }
  }
  if (options.id && !failures.empty()) return failed(failures.front());
  for (const Error& error : failures) say(streams, error.text);
  if (!failures.empty()) asked.all_answered = false;
  return asked;
}

using StatsById = std::map<uint64_t, JsonValue>;  // by the device's number

std::string time_of_day() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

// A line for each device that was present before; `lines` counts them.
void print_rates(const StatsById& before, const StatsById& now, int& lines, std::ostream& out) {
  const std::string time = time_of_day();
  for (const auto& [id, device] : now) {
    const auto old = before.find(id);
    // A new server starts counting at zero.
    if (old == before.end() || old->second.at("pid").get<int>() != device.at("pid").get<int>())
      continue;
    if (lines++ % kLinesBetweenHeaders == 0) out << rates_header();
    out << rates_line(time, old->second, device);
  }
}

Outcome<void> watch(const CommandLine& line, const Options& options, const Streams& streams) {
  StatsById before;
  for (int lines = 0;;) {
    auto asked = ask_devices(options, streams);
    if (!asked) return std::unexpected(asked.error());
    if (asked->devices.empty())
      return failed(std::string());  // already reported that there is
                                     // none
    if (line.has("json")) {
      streams.out << to_text(JsonValue(asked->devices)) << '\n';
    } else if (line.has("prometheus")) {
      streams.out << stats_prometheus(asked->devices);
    } else {
      StatsById now;
      for (JsonValue& device : asked->devices) {
        const auto id = device.at("id").get<uint64_t>();
        now.emplace(id, std::move(device));
      }
      print_rates(before, now, lines, streams.out);
      before = std::move(now);
    }
    if (!streams.out.flush()) return {};  // run() reports the error
    std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  }
}

}  // namespace

constinit const Command kStatCommand = {
    .name = "stat",
    .synopsis = "[[-n] DEVICE] [--json | --prometheus] [--watch [SECONDS]]",
    .summary = "Show request counts, latencies and copied bytes of devices.",
    .declare = declare_stat,
    .run = stat};

}  // namespace sluice::cli
