// ask(): the client's side of a control socket.
//
// Blocks the calling thread, never longer than the limit.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.hpp"
#include "daemon/control_commands.hpp"

namespace sluice {

inline constexpr std::chrono::milliseconds kAskPatience{10'000};

// Sends {"command": ..., ...} to the server of device `id` and returns the body of its reply.
// ENOENT: we do not serve that device; ESRCH: its server is gone; ETIMEDOUT: it does not answer;
// ENOSYS: it is of another version and does not know the command; else what the server said.
Result<nlohmann::json> ask(uint32_t id, const nlohmann::json& request,
                           std::chrono::milliseconds limit = kAskPatience);
// Also the descriptors that came with the reply.
Result<ControlReply> ask_for_descriptors(uint32_t id, const nlohmann::json& request,
                                         std::chrono::milliseconds limit = kAskPatience);

// The same of whatever listens at `path`. EPIPE: it hung up before it had answered.
Result<ControlReply> ask_at(const std::string& path, const nlohmann::json& request,
                            std::chrono::milliseconds limit = kAskPatience);

}  // namespace sluice
