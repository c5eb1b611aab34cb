// `sluice add`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/add_config.hpp"
#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/devices.hpp"
#include "daemon/operations.hpp"
#include "daemon/process.hpp"

namespace sluice::cli {
namespace {

Outcome<AddRequest> read_request(const CommandLine& line, std::istream& in);
Outcome<void> serve_here(const AddRequest& request, const Streams& streams);
void tell(const AddRequest& request, const DeviceListing& device, const Streams& streams);

Outcome<void> add(const CommandLine& line, const Streams& streams) {
  const auto request = read_request(line, streams.in);
  if (!request) return std::unexpected(request.error());
  if (request->serve.foreground) return serve_here(*request, streams);
  const auto served = add_device(request->serve);
  if (!served) return failed(served.error());
  const auto device = look_at(served->record.id);
  if (!device) return std::unexpected(device.error());
  print_new_device(*device, request->json, streams);
  print_notes(served->notes, streams);
  tell(*request, *device, streams);
  return {};
}

// From the command line, or from the file that it names with --config.
Outcome<AddRequest> read_request(const CommandLine& line, std::istream& in) {
  if (!line.has("config")) return read_add(line, in);
  for (const OptionInfo& option : line.options()) {
    constexpr std::string_view kBeside[] = {"config", "foreground", "resume", "json"};
    if (line.has(option.name) && std::ranges::find(kBeside, option.name) == std::end(kBeside)) {
      return usage(
          fmt::format("{} does not go with --config: write it into that file", option.shown()));
    }
  }
  if (line.word()) return usage("a SPEC does not go with --config: write it into that file");
  const std::string path = line.text("config");
  auto arguments = read_config(path);
  if (!arguments) return std::unexpected(arguments.error());
  for (const char* const flag : {"foreground", "resume", "json"}) {
    if (line.has(flag)) arguments->insert(arguments->begin(), fmt::format("--{}", flag));
  }
  CommandLine described("add");
  declare_add(described, *arguments);
  auto parsed = described.parse(*arguments);
  if (parsed && described.has("config")) parsed = failed("it cannot name another one");
  auto request = parsed ? read_add(described, in) : std::unexpected(parsed.error());
  if (request) return request;
  return failed(fmt::format("the configuration {} cannot be used: {}", path, request.error().text));
}

Outcome<void> serve_here(const AddRequest& request, const Streams& streams) {
  // What opening the stack has to say belongs beside the errors, not into the output.
  start_logging(true, {}, request.serve.debug_mask);
  const auto served = add_device_in_foreground(request.serve, [&](const Announcement& announced) {
    const auto device = look_at(announced.id);
    if (!device) return false;
    print_new_device(*device, request.json, streams);
    streams.out.flush();
    tell(request, *device, streams);
    return true;
  });
  if (!served) return failed(served.error());
  return {};
}

void tell(const AddRequest& request, const DeviceListing& device, const Streams& streams) {
  if (!request.note.empty()) say(streams, request.note);
  const uint16_t wanted = request.serve.frontend.device.queues;
  if (!device.driver || device.driver->info.queues == wanted) return;
  say(streams, fmt::format("the driver gave {} of the {} queues: there is one for each processor "
                           "at most",
                           device.driver->info.queues, wanted));
}

}  // namespace

constinit const Command kAddCommand = {
    .name = "add",
    .synopsis = "-t TYPE [-f FILE]... [OPTION]...\n[OPTION]... SPEC\n--config FILE",
    .summary = "Make a block device and print it once it can be opened.",
    .declare = declare_add,
    .run = add};

}  // namespace sluice::cli
