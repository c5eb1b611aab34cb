// `sluice del`, `recover`, `quiesce`, `upgrade` and `set_affinity`.
#include "cli/devices.hpp"

#include <fmt/format.h>

#include <ranges>
#include <set>

#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/show.hpp"
#include "cli/values.hpp"
#include "frontend/frontend_options.hpp"

namespace sluice::cli {
namespace {

Outcome<void> delete_all(const DeleteOptions& options, const Streams& streams);
Outcome<void> show_served(const Result<Served>& served, const CommandLine& line,
                          const Streams& streams);

void declare_del(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device: its number, name or path");
  line.add({'a', "all", "", "all devices; a failure does not stop the others"});
  line.add({.name = "async", .help = "do not wait until the number is free again"});
  line.add({.name = "force", .help = "delete it even if it is mounted or open"});
}

Outcome<void> del(const CommandLine& line, const Streams& streams) {
  const auto id = read_only_device(line);
  if (!id) return std::unexpected(id.error());
  const bool force = line.has("force") || line.grammar() == Grammar::ublk;  // which never refuses
  const DeleteOptions options{.force = force, .wait = !line.has("async")};
  if (*id && line.has("all")) return usage("a DEVICE and -a exclude each other: choose one");
  if (line.has("all")) return delete_all(options, streams);
  if (!*id) return usage("'sluice del' needs a DEVICE, or -a for all devices");
  if (const auto deleted = delete_device(**id, options); !deleted) return failed(deleted.error());
  return {};
}

Outcome<void> delete_all(const DeleteOptions& options, const Streams& streams) {
  const auto devices = list_devices(std::nullopt);
  if (!devices) return failed(devices.error());
  const auto files = read_state_files();
  if (!files) return failed(files.error());
  std::set<uint32_t> ids;
  for (const DeviceListing& device : *devices) ids.insert(device.id);
  for (const DeviceRecord& each : files->records) ids.insert(each.id);  // also of dead servers
  for (const UnusableRecord& each : files->unusable) ids.insert(each.id);
  if (ids.empty()) tell_there_is_none(streams);
  bool all_deleted = true;
  for (const uint32_t id : ids | std::views::reverse) {  // a device may lie on an earlier one
    const auto deleted = delete_device(id, options);
    if (deleted || deleted.error().error == ENODEV) continue;  // already deleted is success
    say(streams, deleted.error().text);
    all_deleted = false;
  }
  if (!all_deleted) return failed(std::string());
  return {};
}

void declare_recover(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device whose server has died");
  line.add({.name = "other_file",
            .help = "serve the present file of that name, even if it is another one"});
  line.add({.name = "json", .help = "print the device as JSON"});
}

Outcome<void> recover(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_device(line);
  if (!id) return std::unexpected(id.error());
  return show_served(recover_device(*id, {.other_file = line.has("other_file")}), line, streams);
}

// Reports a device that now has another server.
Outcome<void> show_served(const Result<Served>& served, const CommandLine& line,
                          const Streams& streams) {
  if (!served) return failed(served.error());
  const auto device = look_at(served->record.id);
  if (!device) return std::unexpected(device.error());
  print_new_device(*device, line.has("json") ? Shown::json : Shown::text, streams);
  print_notes(served->notes, streams);
  return {};
}

void declare_upgrade(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device whose server is to be replaced");
  line.add({.name = "json", .help = "print the device as JSON"});
}

Outcome<void> upgrade(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_device(line);
  if (!id) return std::unexpected(id.error());
  return show_served(upgrade_device(*id), line, streams);
}

void declare_quiesce(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device whose server is to stop");
}

Outcome<void> quiesce(const CommandLine& line, const Streams&) {
  const auto id = read_required_device(line);
  if (!id) return std::unexpected(id.error());
  if (const auto quiesced = quiesce_device(*id); !quiesced) return failed(quiesced.error());
  return {};
}

void declare_set_affinity(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device");
  line.add({'q', "queue", "QUEUE", "its queue, from 0"});
  line.add({.name = "cpuset", .value = "LIST", .help = "processors, such as 0-3,8"});
}

Outcome<void> set_affinity(const CommandLine& line, const Streams&) {
  const auto id = read_required_device(line);
  if (!id) return std::unexpected(id.error());
  const auto queue = read_number(line, "queue", 0, {0, kQueuesMax - 1});
  if (!queue) return std::unexpected(queue.error());
  if (!line.has("queue")) return usage("'sluice set_affinity' needs -q QUEUE, from 0");
  if (!line.has("cpuset")) {
    return usage("'sluice set_affinity' needs --cpuset LIST, such as 0-3,8");
  }
  const auto processors = parse_processors(line.text("cpuset"));
  if (!processors) return std::unexpected(processors.error());
  const auto bound = set_queue_affinity(*id, static_cast<uint16_t>(*queue), *processors);
  if (!bound) return failed(bound.error());
  return {};
}

}  // namespace

Outcome<DeviceListing> look_at(uint32_t id) {
  auto devices = list_devices(id);
  if (!devices) return failed(devices.error());
  return std::move(devices->front());
}

void print_new_device(const DeviceListing& device, Shown wanted, const Streams& streams) {
  const auto bound = bound_processors(device);
  if (wanted == Shown::json) {
    streams.out << written(device_json(device, bound));
    return;
  }
  streams.out << path_of(device) << '\n';
  if (wanted == Shown::text) streams.out << device_text(device, bound, false);
}

void print_notes(const std::vector<std::string>& notes, const Streams& streams) {
  for (const std::string& note : notes) streams.error << "sluice: " << note << std::endl;
}

constinit const Command kDelCommand = {
    .name = "del",
    .synopsis = "[-n] DEVICE [--async] [--force]\n-a [--async] [--force]",
    .summary = "Delete devices. A mounted or open one is refused without --force.",
    .declare = declare_del,
    .run = del};

constinit const Command kRecoverCommand = {
    .name = "recover",
    .synopsis = "[-n] DEVICE [--other_file] [--json]",
    .summary = "Start a new server for a device whose server has died, if it was added with -r 1.",
    .declare = declare_recover,
    .run = recover};

constinit const Command kQuiesceCommand = {
    .name = "quiesce",
    .synopsis = "[-n] DEVICE",
    .summary = "Stop a device's server; its requests wait until 'sluice recover'.",
    .declare = declare_quiesce,
    .run = quiesce};

constinit const Command kUpgradeCommand = {
    .name = "upgrade",
    .synopsis = "[-n] DEVICE [--json]",
    .summary = "Replace the server of a device by this program while requests run.",
    .declare = declare_upgrade,
    .run = upgrade};

constinit const Command kSetAffinityCommand = {
    .name = "set_affinity",
    .synopsis = "[-n] DEVICE -q QUEUE --cpuset LIST",
    .summary = "Bind the thread of a queue to processors.",
    .declare = declare_set_affinity,
    .run = set_affinity};

}  // namespace sluice::cli
