// `sluice add`.
#include <fmt/format.h>

#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/devices.hpp"
#include "daemon/operations.hpp"
#include "daemon/process.hpp"

namespace sluice::cli {
namespace {

Outcome<void> serve_here(const AddRequest& request, const Streams& streams);
void tell(const AddRequest& request, const DeviceListing& device, const Streams& streams);

Outcome<void> add(const CommandLine& line, const Streams& streams) {
  const auto request = read_add(line, streams.in);
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
    .synopsis = "-t TYPE [-f FILE]... [OPTION]...\n[OPTION]... SPEC",
    .summary = "Make a block device and print it once it can be opened.",
    .declare = declare_add,
    .run = add};

}  // namespace sluice::cli
