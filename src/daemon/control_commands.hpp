// ControlCommands: the commands of a server's control socket, by name.
//
// Filled before the socket starts; the commands then start on the socket's thread, one at a time.
// While one runs there, no other client is served: a command that may block is a slow command,
// which only forwards the request and is answered on another thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/control_answer.hpp"
#include "spec/json_value.hpp"

namespace sluice {

class ControlCommands {
 public:
  using Command = std::function<Result<JsonValue>(const JsonValue& request)>;
  using PassingCommand = std::function<Result<ControlReply>(const JsonValue& request)>;
  // Takes over the answer, and the descriptors that came with the request. An exception before that
  // becomes an Error, as for the others.
  using Descriptors = std::vector<Descriptor>;
  using SlowCommand = std::function<void(const JsonValue& request, Descriptors&& descriptors,
                                         ControlAnswer&& answer)>;

  // The time after which the client of a slow command gets a timeout error.
  static constexpr std::chrono::milliseconds kSlowLimit{55'000};

  // The reply is an object.
  void add(const std::string& name, Command command);
  // For replies with descriptors, at most 253 (the kernel's limit).
  void add_passing(const std::string& name, PassingCommand command);
  void add_slow(const std::string& name, SlowCommand command,
                std::chrono::milliseconds limit = kSlowLimit);

  // Gives the answer, now or later; returns the time limit. EINVAL: not a request; ENOSYS: no such
  // command; otherwise the command's error. An exception of a command becomes an Error.
  std::chrono::milliseconds run(std::string_view line, Descriptors descriptors,
                                ControlAnswer answer) const;

 private:
  struct Entry {
    SlowCommand begin;
    std::chrono::milliseconds limit;
  };
  std::map<std::string, Entry, std::less<>> commands_;
};

}  // namespace sluice
