// `sluice inspect`.
#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/show.hpp"
#include "cli/show_stats.hpp"
#include "daemon/ask.hpp"

namespace sluice::cli {
namespace {

void declare_inspect(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device: its number, name or path");
  line.add({.name = "json", .help = "print all values as an object"});
}

Outcome<void> inspect(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_device(line);
  if (!id) return std::unexpected(id.error());
  auto reply = ask(*id, {{"command", "inspect"}});
  if (!reply) return failed(reply.error());
  reply->erase("ok");
  try {
    streams.out << (line.has("json") ? written(Json(*reply)) : in_flight_text(*reply));
  } catch (const JsonMismatch&) {
    return failed(
        "the server's reply about its requests is not understood: it is of another version");
  }
  return {};
}

}  // namespace

constinit const Command kInspectCommand = {
    .name = "inspect",
    .synopsis = "[-n] DEVICE [--json]",
    .summary =
        "Show the background jobs, and every request in flight, its age and place in the stack.",
    .declare = declare_inspect,
    .run = inspect};

}  // namespace sluice::cli
