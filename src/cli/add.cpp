// `sluice add`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/add_config.hpp"
#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/devices.hpp"
#include "cli/ready_descriptor.hpp"
#include "cli/show.hpp"
#include "daemon/activation.hpp"
#include "daemon/caller.hpp"
#include "daemon/companion.hpp"
#include "daemon/device_name.hpp"
#include "daemon/operations.hpp"
#include "daemon/process.hpp"
#include "frontend/fuse/data_path.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

Outcome<AddRequest> read_request(const CommandLine& line, std::istream& in,
                                 std::span<const int> passed);
void give_default_name(AddRequest& request, const std::string& name);
Outcome<void> check_descriptors(const AddRequest& request);
Outcome<void> serve_here(AddRequest request, const Streams& streams);
Outcome<void> serve_announcing(const AddRequest& request, const Streams& streams);
Outcome<void> tell_of(const DeviceListing& device, const AddRequest& request);
Shown shown_by(const AddRequest& request);
std::string_view why_fewer_queues(const DeviceListing& device);
void tell(const AddRequest& request, const DeviceListing& device, const Streams& streams);

Outcome<void> add(const CommandLine& line, const Streams& streams) {
  const auto passed = take_activated_descriptors();
  if (!passed) return failed(passed.error());
  const auto request = read_request(line, streams.in, *passed);
  if (!request) return std::unexpected(request.error());
  return carry_out(*request, streams);
}

}  // namespace

Outcome<void> carry_out(const AddRequest& request, const Streams& streams) {
  if (auto checked = check_descriptors(request); !checked) return checked;
  if (request.serve.foreground) return serve_here(request, streams);
  const auto served = add_device(request.serve);
  if (!served) return failed(served.error());
  const auto device = look_at(served->record.id);
  if (device) print_new_device(*device, shown_by(request), streams);
  streams.out.flush();
  const auto told = device && streams.out ? tell_of(*device, request) : Outcome<void>();
  if (!device || !streams.out || !told) {  // the caller would not learn of the device
    const auto deleted = delete_device(served->record.id, {.force = true});
    if (!deleted) say(streams, deleted.error().text);
    return device ? told : std::unexpected(device.error());
  }
  print_notes(served->notes, streams);
  tell(request, *device, streams);
  return {};
}

namespace {

// From the command line, or from its --config file.
Outcome<AddRequest> read_request(const CommandLine& line, std::istream& in,
                                 std::span<const int> passed) {
  if (!line.has("config")) return read_add(line, in, passed);
  for (const OptionInfo& option : line.options()) {
    constexpr std::string_view kBeside[] = {"config", "name", "foreground", "resume",
                                            "quiet",  "json", "run",        "ready_fd"};
    if (line.has(option.name) && std::ranges::find(kBeside, option.name) == std::end(kBeside)) {
      return usage(
          fmt::format("{} does not go with --config: write it into that file", option.shown()));
    }
  }
  if (line.word()) return usage("a SPEC does not go with --config: write it into that file");
  const std::string path = line.text("config");
  auto arguments = read_config(path);
  if (!arguments) return std::unexpected(arguments.error());
  for (const char* const flag : {"foreground", "resume", "quiet", "json"}) {
    if (line.has(flag)) arguments->insert(arguments->begin(), fmt::format("--{}", flag));
  }
  for (const char* const option : {"run", "ready_fd"}) {
    if (!line.has(option)) continue;
    arguments->insert(arguments->begin(), {fmt::format("--{}", option), line.text(option)});
  }
  CommandLine described("add");
  declare_add(described, *arguments);
  auto parsed = described.parse(*arguments);
  if (parsed && described.has("config")) parsed = failed("it cannot name another one");
  auto request = parsed ? read_add(described, in, passed) : std::unexpected(parsed.error());
  if (request && line.has("name")) give_default_name(*request, line.text("name"));
  if (request) return request;
  return failed(fmt::format("the configuration {} cannot be used: {}", path, request.error().text));
}

// A service passes its own name, which may not be a valid device name.
void give_default_name(AddRequest& request, const std::string& name) {
  if (!request.serve.name.empty()) return;
  if (const auto checked = check_name(name); checked) {
    request.serve.name = name;
  } else {
    request.notes.push_back(fmt::format("{}: the device has no name", checked.error().text));
  }
}

Outcome<void> check_descriptors(const AddRequest& request) {
  if (request.ready_fd < 0) return {};
  std::vector<int> taken = named_descriptors(request.serve.spec);
  taken.insert(taken.end(), request.serve.kept.begin(), request.serve.kept.end());
  return check_ready_descriptor(request.ready_fd, taken);
}

// With --run this ends when the command has ended, and with its status.
Outcome<void> serve_here(AddRequest request, const Streams& streams) {
  if (request.ready_fd >= 0) request.serve.kept.push_back(request.ready_fd);
  if (request.run.empty()) return serve_announcing(request, streams);
  auto companion = Companion::start(request.run, request.serve.kept);
  if (!companion) return failed(companion.error());
  request.serve.companion = companion->get();
  request.serve.kept.push_back((*companion)->descriptor());
  const auto served = serve_announcing(request, streams);
  if (!served) (*companion)->tell_to_end();
  const int status = (*companion)->wait();
  if (!served || status == 0) return served;
  return std::unexpected(Failure{static_cast<Exit>(status), {}});
}

// The standard output belongs to the command of --run, or to the client that has passed a socket:
// it may be where this client writes its data.
Outcome<void> serve_announcing(const AddRequest& request, const Streams& streams) {
  Companion* const companion = request.serve.companion;
  const bool prints = companion == nullptr && request.serve.frontend.sockets.empty();
  const auto served = add_device_in_foreground(request.serve, [&](const Announcement& announced) {
    const auto device = look_at(announced.id);
    if (!device) return false;
    if (prints) print_new_device(*device, shown_by(request), streams);
    streams.out.flush();
    if (const auto told = tell_of(*device, request); !told) {
      say(streams, told.error().text);
      return false;
    }
    tell(request, *device, streams);
    return companion == nullptr || companion->begin(path_of(*device));
  });
  if (!served) return failed(served.error());
  return {};
}

Outcome<void> tell_of(const DeviceListing& device, const AddRequest& request) {
  return request.ready_fd < 0 ? Outcome<void>() : tell_ready(request.ready_fd, path_of(device));
}

Shown shown_by(const AddRequest& request) {
  if (request.json) return Shown::json;
  return request.quiet ? Shown::path : Shown::text;
}

// Reports requested values that were not granted.
void tell(const AddRequest& request, const DeviceListing& device, const Streams& streams) {
  if (request.quiet) return;
  for (const std::string& note : request.notes) say(streams, note);
  const FrontendOptions& wanted = request.serve.frontend;
  const bool is_ublk = device.driver.has_value();
  const uint32_t queues = is_ublk ? device.driver->info.queues : device.record->queues;
  if (queues != wanted.queues) {
    say(streams, fmt::format("{} of the {} queues are used: {}", queues, wanted.queues,
                             why_fewer_queues(device)));
  }
  if (is_ublk || device.record->max_io_bytes == wanted.max_io_bytes) return;
  say(streams,
      fmt::format("requests have at most {} instead of {}: FUSE allows no larger ones",
                  format_size(device.record->max_io_bytes), format_size(wanted.max_io_bytes)));
}

std::string_view why_fewer_queues(const DeviceListing& device) {
  if (device.driver) return "the driver allows at most one per processor";
  const bool passthrough = device.record->mode == to_string(fuse::DataPath::passthrough);
  return passthrough ? "with passthrough the kernel moves the data itself"
                     : "the kernel has one per processor";
}

}  // namespace

constinit const Command kAddCommand = {
    .name = "add",
    .synopsis =
        "-t TYPE [-f FILE]... [OPTION]...\n[OPTION]... [--] SPEC\n--config FILE [--name NAME]",
    .summary = "Make a block device and print it once it can be opened.",
    .declare = declare_add,
    .run = add};

}  // namespace sluice::cli
