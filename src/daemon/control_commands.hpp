// ControlCommands: what a server can be asked over its control socket, by name.
//
// Filled before the socket starts; the commands then run on the socket's thread, one at a time.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

// A reply with descriptors that go to the client. They are closed here once they are sent.
struct ControlReply {
  nlohmann::json body = nlohmann::json::object();
  std::vector<Descriptor> descriptors;
};

class ControlCommands {
 public:
  using Command = std::function<Result<nlohmann::json>(const nlohmann::json& request)>;
  using PassingCommand = std::function<Result<ControlReply>(const nlohmann::json& request)>;

  // The reply is an object.
  void add(const std::string& name, Command command);
  // For replies that carry descriptors, at most 253 (what the kernel takes at once).
  void add_passing(const std::string& name, PassingCommand command);

  // EINVAL: not a request; ENOSYS: no such command; else what the command said. An exception of a
  // command becomes an Error.
  Result<ControlReply> run(std::string_view line) const;

 private:
  std::map<std::string, PassingCommand, std::less<>> commands_;
};

}  // namespace sluice
