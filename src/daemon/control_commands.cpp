#include "daemon/control_commands.hpp"

#include <fmt/format.h>

#include "daemon/control_request.hpp"
#include "sluice_version.hpp"
#include "spec/shown.hpp"

namespace sluice {

void ControlCommands::add(const std::string& name, Command command) {
  add_passing(
      name, [command = std::move(command)](const nlohmann::json& request) -> Result<ControlReply> {
        auto body = command(request);
        if (!body) return std::unexpected(body.error());
        return ControlReply{.body = std::move(*body), .descriptors = {}};
      });
}

void ControlCommands::add_passing(const std::string& name, PassingCommand command) {
  commands_[name] = std::move(command);
}

Result<ControlReply> ControlCommands::run(std::string_view line) const {
  const auto request = parse_control_request(line);
  if (!request) return std::unexpected(request.error());
  const auto command = commands_.find(request->command);
  if (command == commands_.end()) {
    return fail(ENOSYS, fmt::format("this server, of sluice {}, does not know the command {}",
                                    kVersion, shown(request->command)));
  }
  try {
    return command->second(request->body);
  } catch (const nlohmann::json::exception& error) {
    return fail(EINVAL, fmt::format("the request {} is not as it should be: {}",
                                    shown(request->command), printable(error.what(), 200)));
  } catch (const std::exception& error) {
    return fail(ENOMEM, fmt::format("the request {} failed: {}", shown(request->command),
                                    printable(error.what(), 200)));
  }
}

}  // namespace sluice
