#include "daemon/control_commands.hpp"

#include <fmt/format.h>

#include "daemon/control_request.hpp"
#include "sluice_version.hpp"
#include "spec/shown.hpp"

namespace sluice {

void ControlCommands::add(const std::string& name, Command command) {
  add_passing(name,
              [command = std::move(command)](const JsonValue& request) -> Result<ControlReply> {
                auto body = command(request);
                if (!body) return std::unexpected(body.error());
                return ControlReply{.body = std::move(*body), .descriptors = {}};
              });
}

void ControlCommands::add_passing(const std::string& name, PassingCommand command) {
  add_slow(name,
           [command = std::move(command)](const JsonValue& request, Descriptors&&,
                                          ControlAnswer&& answer) { answer(command(request)); });
}

void ControlCommands::add_slow(const std::string& name, SlowCommand command,
                               std::chrono::milliseconds limit) {
  commands_.insert_or_assign(name, Entry{.begin = std::move(command), .limit = limit});
}

std::chrono::milliseconds ControlCommands::run(std::string_view line, Descriptors descriptors,
                                               ControlAnswer answer) const {
  const auto refuse = [&](Error why) {
    if (answer.is_owed()) answer(std::unexpected(std::move(why)));
    return kSlowLimit;
  };
  const auto request = parse_control_request(line);
  if (!request) return refuse(request.error());
  const auto command = commands_.find(request->command);
  if (command == commands_.end()) {
    return refuse({ENOSYS, fmt::format("this server, of sluice {}, does not know the command {}",
                                       kVersion, shown(request->command))});
  }
  try {
    command->second.begin(request->body, std::move(descriptors), std::move(answer));
    return command->second.limit;
  } catch (const JsonMismatch&) {
    return refuse({EINVAL, fmt::format("the request {} lacks a member, or has one in a form "
                                       "unknown to this server, of sluice {}",
                                       shown(request->command), kVersion)});
  } catch (const std::exception&) {
    return refuse({ENOMEM, fmt::format("the request {} failed in the server, which may lack memory",
                                       shown(request->command))});
  }
}

}  // namespace sluice
