// What is said over a control socket: a request is a JSON object on a line, and so is its reply.
//
//   {"command": "stat"}
//   {"ok": true, "version": "0.1.0", ...}      what the command has to say
//   {"ok": false, "version": "0.1.0", "errno": 22, "error": "one sentence"}
//
// Pure functions, safe on any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice {

inline constexpr size_t kMaxControlRequestBytes = 64 << 10;
inline constexpr size_t kMaxControlReplyBytes = 64 << 20;

struct ControlRequest {
  std::string command;
  nlohmann::json body;  // the whole object
};

// Any bytes, without the newline. EINVAL: not a request, in one printable sentence.
Result<ControlRequest> parse_control_request(std::string_view line);

// With the newline. The body of a success is an object; it gets "ok" and "version".
std::string control_reply_line(nlohmann::json body);
std::string control_reply_line(const Error& error);

// What a reply says: its body, or the Error that the server had. EPROTO: not a reply.
Result<nlohmann::json> parse_control_reply(std::string_view line);

}  // namespace sluice
