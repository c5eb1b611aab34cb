// `sluice events`.
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/show.hpp"
#include "daemon/device_name.hpp"
#include "daemon/event_reader.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr std::chrono::milliseconds kBetweenReads{200};

// The device whose events are shown; it may have gone.
struct Wanted {
  std::optional<uint32_t> id;
  std::string name;             // if there is no id; empty: all devices
  std::optional<Error> absent;  // why there is no such device now

  bool includes(const DeviceEvent& event) const {
    if (id) return event.id == *id;
    return name.empty() || event.name == name;
  }
};

Outcome<Wanted> read_wanted(const CommandLine& line);
Outcome<void> follow(EventReader& reader, const Wanted& wanted, bool as_json,
                     const Streams& streams);
std::vector<DeviceEvent> chosen_from(std::vector<DeviceEvent> all, const Wanted& wanted);
void print(const std::vector<DeviceEvent>& events, bool as_json, std::ostream& out);
std::string event_text(const DeviceEvent& event);

void declare_events(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "only this device: its number, name or path");
  line.add(
      {.name = "json", .help = "print all values as an array; with --follow an object a line"});
  line.add({.name = "follow", .help = "go on with new events, until interrupted"});
}

Outcome<void> events(const CommandLine& line, const Streams& streams) {
  const auto wanted = read_wanted(line);
  if (!wanted) return std::unexpected(wanted.error());
  EventReader reader;
  auto all = reader.read();
  if (!all) return failed(all.error());
  const auto chosen = chosen_from(std::move(*all), *wanted);
  if (line.has("follow")) {
    print(chosen, line.has("json"), streams.out);
    return follow(reader, *wanted, line.has("json"), streams);
  }
  if (chosen.empty() && wanted->absent) return failed(*wanted->absent);
  if (line.has("json")) {
    Json array = Json::array();
    for (const DeviceEvent& event : chosen) array.push_back(to_json(event));
    streams.out << written(array);
    return {};
  }
  print(chosen, false, streams.out);
  if (chosen.empty()) say(streams, "no events");
  return {};
}

// A word that names no device may be the name of one that has gone.
Outcome<Wanted> read_wanted(const CommandLine& line) {
  const bool has_number = line.has("number");
  if (has_number && line.word()) return std::unexpected(line.explain_word(*line.word()));
  if (!has_number && !line.word()) return Wanted();
  const std::string word = has_number ? line.text("number") : std::string(*line.word());
  const auto id = find_device(word);
  const bool is_name = check_name(word).has_value();
  if (!id) {
    if (!is_name) return failed(id.error());
    return Wanted{.id = {}, .name = word, .absent = id.error()};
  }
  const auto record = read_record(*id);
  if (record && record->name == word) return Wanted{.id = {}, .name = word, .absent = {}};
  Wanted wanted{.id = *id, .name = {}, .absent = {}};
  if (!record && record.error().error == ENOENT) wanted.absent = record.error();
  return wanted;
}

std::vector<DeviceEvent> chosen_from(std::vector<DeviceEvent> all, const Wanted& wanted) {
  std::erase_if(all, [&](const DeviceEvent& event) { return !wanted.includes(event); });
  return all;
}

// Polls: no event is lost between two reads, and no limited resource such as a watch is used.
Outcome<void> follow(EventReader& reader, const Wanted& wanted, bool as_json,
                     const Streams& streams) {
  while (streams.out.flush()) {  // otherwise run() reports the error
    std::this_thread::sleep_for(kBetweenReads);
    auto all = reader.read();
    if (!all) return failed(all.error());
    print(chosen_from(std::move(*all), wanted), as_json, streams.out);
  }
  return {};
}

void print(const std::vector<DeviceEvent>& events, bool as_json, std::ostream& out) {
  for (const DeviceEvent& event : events) {
    out << (as_json ? to_text(to_json(event)) + "\n" : event_text(event));
  }
}

// In local time.
std::string event_text(const DeviceEvent& event) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(event.time);
  const std::time_t time = std::chrono::system_clock::to_time_t(seconds);
  std::tm local{};
  localtime_r(&time, &local);
  const std::string device = event.name.empty() ? fmt::format("{}", event.id)
                                                : fmt::format("{} ({})", event.id, event.name);
  const std::string target = event.target.empty() ? "" : event.target + ": ";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}  {:<10}  {:<15}  {}\n",
                     local.tm_year + 1900, local.tm_mon + 1, local.tm_mday, local.tm_hour,
                     local.tm_min, local.tm_sec, (event.time - seconds).count(), device, event.kind,
                     printable(target + event.text, std::string::npos));
}

}  // namespace

constinit const Command kEventsCommand = {
    .name = "events",
    .synopsis = "[[-n] DEVICE] [--json] [--follow]",
    .summary = "Show what has happened to devices, the oldest first.",
    .declare = declare_events,
    .run = events};

}  // namespace sluice::cli
