// `sluice inspect`.
#include "cli/command.hpp"
#include "cli/show.hpp"
#include "cli/show_figures.hpp"
#include "cli/values.hpp"
#include "daemon/ask.hpp"

namespace sluice::cli {
namespace {

void declare_inspect(CommandLine& line, std::span<const std::string>) {
  line.add({.letter = 'n', .name = "number", .value = "ID", .help = "the device"});
  line.add({.name = "json", .help = "print an object with everything"});
}

Outcome<void> inspect(const CommandLine& line, const Streams& streams) {
  const auto id = read_required_id(line);
  if (!id) return std::unexpected(id.error());
  auto reply = ask(*id, {{"command", "inspect"}});
  if (!reply) return failed(reply.error());
  reply->erase("ok");
  try {
    streams.out << (line.has("json") ? written(Json(*reply)) : in_flight_text(*reply));
  } catch (const nlohmann::json::exception&) {
    return failed(
        "the server tells of its requests in a way that this sluice does not understand: "
        "it is of another version");
  }
  return {};
}

}  // namespace

constinit const Command kInspectCommand = {
    .name = "inspect",
    .synopsis = "-n ID [--json]",
    .summary = "Show every request in flight, where it is in the stack, and its age.",
    .declare = declare_inspect,
    .run = inspect};

}  // namespace sluice::cli
