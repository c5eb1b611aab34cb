// `sluice list`.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/devices.hpp"
#include "cli/show.hpp"
#include "cli/show_table.hpp"
#include "daemon/server_death.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice::cli {
namespace {

void declare_list(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "only this device, with all details");
  line.add({'v', "verbose", "", "all details, including the spec as JSON"});
  line.add({.name = "json", .help = "print all values as an array"});
}

// Reports unusable records, of one device or of all. True: there are none.
bool tell_of_unusable_records(std::optional<uint32_t> id, const Streams& streams) {
  const auto files = read_state_files();
  if (!files) say(streams, files.error().text);
  bool complete = files.has_value();
  for (const UnusableRecord& each : complete ? files->unusable : std::vector<UnusableRecord>()) {
    if (id && each.id != *id) continue;
    say(streams, each.why.text);
    complete = false;
  }
  return complete;
}

// A line for each device; full output in ublk's grammar, for scripts.
Outcome<void> list(const CommandLine& line, const Streams& streams) {
  const auto id = read_only_device(line);
  if (!id) return std::unexpected(id.error());
  const bool complete = tell_of_unusable_records(*id, streams);
  const auto devices = list_devices(*id);
  if (!devices) return complete ? failed(devices.error()) : failed(std::string());
  for (const DeviceListing& device : *devices) {
    if (device.record && !device.alive) note_server_death(*device.record);
  }
  const bool in_full = *id || line.has("verbose") || line.grammar() == Grammar::ublk;
  if (line.has("json")) {
    Json array = Json::array();
    for (const DeviceListing& device : *devices) {
      array.push_back(device_json(device, bound_processors(device)));
    }
    streams.out << written(array);
  } else if (in_full) {
    for (const DeviceListing& device : *devices) {
      streams.out << device_text(device, bound_processors(device), line.has("verbose"));
    }
  } else if (!devices->empty()) {
    streams.out << device_table(*devices);
  }
  if (devices->empty() && complete && !line.has("json")) tell_there_is_none(streams);
  if (!complete) return failed(std::string());
  return {};
}

}  // namespace

void tell_there_is_none(const Streams& streams) {
  const size_t hidden = ublk::Control::ids().size();
  say(streams,
      hidden == 0 ? "no devices" : fmt::format("no devices of yours, {} of others", hidden));
}

constinit const Command kListCommand = {.name = "list",
                                        .synopsis = "[-v] [--json]\n[-n] DEVICE [-v] [--json]",
                                        .summary = "Show the devices, or one in detail.",
                                        .declare = declare_list,
                                        .run = list};

}  // namespace sluice::cli
