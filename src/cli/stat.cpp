// `sluice stat`.
#include <fmt/format.h>

#include <chrono>
#include <map>
#include <thread>

#include "cli/command.hpp"
#include "cli/show.hpp"
#include "cli/show_figures.hpp"
#include "cli/values.hpp"
#include "daemon/ask.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr uint64_t kLongestSeconds = 86400;
constexpr int kLinesBetweenHeaders = 20;

// What there is to say, and whether every server said it.
struct Asked {
  std::vector<nlohmann::json> devices;
  bool all_answered = true;
};

Outcome<Asked> ask_devices(const CommandLine& line, const Streams& streams, bool buckets);
Outcome<void> show_once(const CommandLine& line, const Streams& streams);
Outcome<void> watch(const CommandLine& line, const Streams& streams);

void declare_stat(CommandLine& line, std::span<const std::string>) {
  line.add({.letter = 'n', .name = "number", .value = "ID", .help = "only this device"});
  line.add({.name = "json", .help = "print an array with everything"});
  line.add({.name = "prometheus", .help = "print the text format of Prometheus"});
  line.add({.name = "watch", .help = "print what happens, every SECONDS (1), until interrupted"});
  line.add_word("SECONDS");
}

Outcome<void> stat(const CommandLine& line, const Streams& streams) {
  if (line.has("json") && line.has("prometheus")) {
    return usage("--json and --prometheus exclude each other: choose one");
  }
  if (line.word() && !line.has("watch")) {
    return usage(
        fmt::format("unexpected argument {} (SECONDS goes with --watch)", shown(*line.word())));
  }
  try {
    return line.has("watch") ? watch(line, streams) : show_once(line, streams);
  } catch (const nlohmann::json::exception&) {
    return failed(
        "a server tells of its figures in a way that this sluice does not understand: "
        "it is of another version");
  }
}

Outcome<void> show_once(const CommandLine& line, const Streams& streams) {
  const auto asked = ask_devices(line, streams, line.has("prometheus"));
  if (!asked) return std::unexpected(asked.error());
  if (line.has("prometheus")) {
    streams.out << figures_prometheus(asked->devices);
  } else if (line.has("json")) {
    streams.out << written(Json(asked->devices));
  } else {
    for (const nlohmann::json& device : asked->devices) streams.out << figures_text(device);
  }
  if (!asked->all_answered) return failed(std::string());
  return {};
}

// One server that does not answer does not keep the others from being shown.
Outcome<Asked> ask_devices(const CommandLine& line, const Streams& streams, bool buckets) {
  const auto id = read_id(line);
  if (!id) return std::unexpected(id.error());
  std::vector<uint32_t> ids;
  if (*id) {
    ids.push_back(**id);
  } else {
    for (const DeviceRecord& record : read_records()) ids.push_back(record.id);
    if (ids.empty()) say(streams, "no devices");
  }
  Asked asked;
  for (const uint32_t each : ids) {
    auto reply = ask(each, {{"command", "stat"}, {"buckets", buckets}});
    if (!reply && *id) return failed(reply.error());
    if (!reply) {
      say(streams, reply.error().text);
      asked.all_answered = false;
      continue;
    }
    reply->erase("ok");
    asked.devices.push_back(std::move(*reply));
  }
  return asked;
}

using Figures = std::map<uint64_t, nlohmann::json>;  // by the number of the device

// A line for each device that was there before; `lines` counts them.
void print_rates(const Figures& before, const Figures& now, int& lines, std::ostream& out) {
  for (const auto& [id, device] : now) {
    const auto old = before.find(id);
    // A new server has begun to count anew.
    if (old == before.end() || old->second.at("pid") != device.at("pid")) continue;
    if (lines++ % kLinesBetweenHeaders == 0) out << rates_header();
    out << rates_line(old->second, device);
  }
}

Outcome<void> watch(const CommandLine& line, const Streams& streams) {
  uint64_t seconds = 1;
  if (line.word()) {
    seconds = parse_digits(*line.word()).value_or(0);
    if (seconds == 0 || seconds > kLongestSeconds) {
      return usage(fmt::format("SECONDS is {}, but must be a whole number from 1 to {}",
                               shown(*line.word()), kLongestSeconds));
    }
  }
  Figures before;
  for (int lines = 0;;) {
    auto asked = ask_devices(line, streams, !line.has("json"));
    if (!asked) return std::unexpected(asked.error());
    if (asked->devices.empty()) return failed(std::string());  // there is none, as was said
    if (line.has("json")) {
      streams.out << nlohmann::json(asked->devices).dump() << '\n';
    } else if (line.has("prometheus")) {
      streams.out << figures_prometheus(asked->devices);
    } else {
      Figures now;
      for (nlohmann::json& device : asked->devices) {
        const auto id = device.at("id").get<uint64_t>();
        now.emplace(id, std::move(device));
      }
      print_rates(before, now, lines, streams.out);
      before = std::move(now);
    }
    if (!streams.out.flush()) return {};  // run() says why
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
  }
}

}  // namespace

constinit const Command kStatCommand = {
    .name = "stat",
    .synopsis = "[-n ID] [--json | --prometheus] [--watch [SECONDS]]",
    .summary = "Show what devices have done, how long it took and what was copied.",
    .declare = declare_stat,
    .run = stat};

}  // namespace sluice::cli
