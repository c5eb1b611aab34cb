// ask(): the client's side of a control socket.
//
// Blocks the calling thread, at most for the limit.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "core/error.hpp"
#include "daemon/control_commands.hpp"
#include "spec/json_value.hpp"

namespace sluice {

inline constexpr std::chrono::milliseconds kAskTimeout{10'000};

// Sends {"command": ..., ...} to the server of device `id` and returns the body of its reply.
// ENOENT: no device of Sluice; ESRCH: its server has ended; ETIMEDOUT: it does not answer; ENOSYS:
// it is of another version without this command; otherwise the server's error.
Result<JsonValue> ask(uint32_t id, const JsonValue& request,
                      std::chrono::milliseconds limit = kAskTimeout);
// The same, with descriptors for the server, at most kPassedAtOnce.
Result<JsonValue> ask_passing(uint32_t id, const JsonValue& request,
                              std::span<const int> descriptors,
                              std::chrono::milliseconds limit = kAskTimeout);
// The same, with the descriptors of the reply.
Result<ControlReply> ask_for_descriptors(uint32_t id, const JsonValue& request,
                                         std::chrono::milliseconds limit = kAskTimeout);

// The same for any listener at `path`. EPIPE: it closed the connection before it answered.
Result<ControlReply> ask_at(const std::string& path, const JsonValue& request,
                            std::chrono::milliseconds limit = kAskTimeout);

}  // namespace sluice
