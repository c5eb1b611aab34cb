// `sluice del`, `list`, `recover`, `quiesce`, `upgrade`, `resize` and `set_affinity`.
#include "cli/devices.hpp"

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/show.hpp"
#include "cli/values.hpp"
#include "frontend/ublk/control.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

Outcome<void> delete_all(const DeleteOptions& options, const Streams& streams);
Outcome<void> show_served(const Result<Served>& served, const CommandLine& line,
                          const Streams& streams);
void tell_there_is_none(const Streams& streams);

void declare_number(CommandLine& line, std::string help) {
  line.add({.letter = 'n', .name = "number", .value = "ID", .help = std::move(help)});
}

void declare_del(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device: 0 for /dev/ublkb0");
  line.add({'a', "all", "", "all devices; one that fails does not keep the others"});
  line.add({.name = "async", .help = "do not wait until the number is free again"});
  line.add({.name = "force", .help = "even if it is mounted or open"});
}

Outcome<void> del(const CommandLine& line, const Streams& streams) {
  const auto id = read_id(line);
  if (!id) return std::unexpected(id.error());
  const DeleteOptions options{.force = line.has("force"), .wait = !line.has("async")};
  if (*id && line.has("all")) return usage("-n ID and -a exclude each other: choose one");
  if (line.has("all")) return delete_all(options, streams);
  if (!*id) return usage("'sluice del' needs -n ID, or -a for all devices");
  if (const auto deleted = delete_device(**id, options); !deleted) return failed(deleted.error());
  return {};
}

Outcome<void> delete_all(const DeleteOptions& options, const Streams& streams) {
  const auto devices = list_devices(std::nullopt);
  if (!devices) return failed(devices.error());
  if (devices->empty()) tell_there_is_none(streams);
  bool all_deleted = true;
  for (const DeviceListing& device : *devices) {
    const auto deleted = delete_device(device.id, options);
    if (deleted || deleted.error().error == ENODEV) continue;  // gone is what was wanted
    say(streams, deleted.error().text);
    all_deleted = false;
  }
  if (!all_deleted) return failed(std::string());
  return {};
}

// Without privilege one sees one's own devices only.
void tell_there_is_none(const Streams& streams) {
  const size_t hidden = ublk::Control::ids().size();
  say(streams,
      hidden == 0 ? "no devices" : fmt::format("no devices of yours, {} of others", hidden));
}

void declare_list(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "only this device");
  line.add({'v', "verbose", "", "also the driver's affinities and the spec as JSON"});
  line.add({.name = "json", .help = "print an array with everything"});
}

Outcome<void> list(const CommandLine& line, const Streams& streams) {
  const auto id = read_id(line);
  if (!id) return std::unexpected(id.error());
  const auto devices = list_devices(*id);
  if (!devices) return failed(devices.error());
  Json array = Json::array();
  for (const DeviceListing& device : *devices) {
    const auto bound = bound_processors(device);
    if (line.has("json")) {
      array.push_back(device_json(device, bound));
    } else {
      streams.out << device_text(device, bound, line.has("verbose"));
    }
  }
  if (line.has("json")) {
    streams.out << written(array);
  } else if (devices->empty()) {
    tell_there_is_none(streams);
  }
  return {};
}

void declare_recover(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device whose server has died");
  line.add({.name = "json", .help = "print the device as JSON"});
}

Outcome<void> recover(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  return show_served(recover_device(*id), line, streams);
}

// A device that has another server now.
Outcome<void> show_served(const Result<Served>& served, const CommandLine& line,
                          const Streams& streams) {
  if (!served) return failed(served.error());
  const auto device = look_at(served->record.id);
  if (!device) return std::unexpected(device.error());
  print_new_device(*device, line.has("json"), streams);
  print_notes(served->notes, streams);
  return {};
}

void declare_upgrade(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device whose server is to be replaced");
  line.add({.name = "json", .help = "print the device as JSON"});
}

Outcome<void> upgrade(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  return show_served(upgrade_device(*id), line, streams);
}

void declare_quiesce(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device that is to be without a server for a while");
}

Outcome<void> quiesce(const CommandLine& line, const Streams&) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  if (const auto quiesced = quiesce_device(*id); !quiesced) return failed(quiesced.error());
  return {};
}

void declare_resize(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device");
  line.add_word("SIZE");
}

Outcome<void> resize(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  std::optional<uint64_t> wanted;
  if (line.word()) {
    const auto size = parse_size(*line.word());
    if (!size) return usage(size.error().text);
    wanted = *size;
  }
  const auto resized = resize_device(*id, wanted);
  if (!resized) return failed(resized.error());
  streams.out << *resized << '\n';
  return {};
}

void declare_set_affinity(CommandLine& line, std::span<const std::string>) {
  declare_number(line, "the device");
  line.add({'q', "queue", "QUEUE", "its queue, from 0"});
  line.add({.name = "cpuset", .value = "LIST", .help = "processors, such as 0-3,8"});
}

Outcome<void> set_affinity(const CommandLine& line, const Streams&) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  const auto queue = read_number(line, "queue", 0, {0, ublk::abi::kMaxQueues - 1});
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

void print_new_device(const DeviceListing& device, bool json, const Streams& streams) {
  const auto bound = bound_processors(device);
  if (json) {
    streams.out << written(device_json(device, bound));
    return;
  }
  streams.out << path_of(device) << '\n' << device_text(device, bound, false);
}

void print_notes(const std::vector<std::string>& notes, const Streams& streams) {
  for (const std::string& note : notes) streams.error << "sluice: " << note << std::endl;
}

constinit const Command kDelCommand = {
    .name = "del",
    .synopsis = "-n ID [--async] [--force]\n-a [--async] [--force]",
    .summary = "Delete devices. One that is mounted or open is left alone without --force.",
    .declare = declare_del,
    .run = del};

constinit const Command kListCommand = {
    .name = "list",
    .synopsis = "[-n ID] [-v] [--json]",
    .summary = "Show the ublk devices, their servers and what they serve.",
    .declare = declare_list,
    .run = list};

constinit const Command kRecoverCommand = {
    .name = "recover",
    .synopsis = "-n ID [--json]",
    .summary = "Serve a device again whose server has died, if it was added with -r 1.",
    .declare = declare_recover,
    .run = recover};

constinit const Command kQuiesceCommand = {
    .name = "quiesce",
    .synopsis = "-n ID",
    .summary = "End a device's server; its requests wait until 'sluice recover'.",
    .declare = declare_quiesce,
    .run = quiesce};

constinit const Command kUpgradeCommand = {
    .name = "upgrade",
    .synopsis = "-n ID [--json]",
    .summary = "Replace the server of a device by this program while requests are running.",
    .declare = declare_upgrade,
    .run = upgrade};

constinit const Command kResizeCommand = {
    .name = "resize",
    .synopsis = "-n ID [SIZE]",
    .summary = "Make a device larger, or as large as what is behind it has become.",
    .declare = declare_resize,
    .run = resize};

constinit const Command kSetAffinityCommand = {
    .name = "set_affinity",
    .synopsis = "-n ID -q QUEUE --cpuset LIST",
    .summary = "Bind the thread of a queue to processors.",
    .declare = declare_set_affinity,
    .run = set_affinity};

}  // namespace sluice::cli
