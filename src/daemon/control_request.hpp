// The protocol of a control socket: a request is a JSON object on one line, and so is its reply.
//
//   {"command": "stat"}
//   {"ok": true, "version": "0.1.0", ...}      the command's result
//   {"ok": false, "version": "0.1.0", "errno": 22, "error": "one sentence"}
//
// Pure functions, safe on any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"
#include "spec/json_value.hpp"

namespace sluice {

inline constexpr size_t kMaxControlRequestBytes = 64 << 10;
inline constexpr size_t kMaxControlReplyBytes = 64 << 20;

struct ControlRequest {
  std::string command;
  JsonValue body;  // the whole object
};

// Parses arbitrary bytes, without the newline. EINVAL, with one printable sentence: not a request.
Result<ControlRequest> parse_control_request(std::string_view line);

// Includes the newline. `body` is an object; "ok" and "version" are added.
std::string control_reply_line(JsonValue body);
std::string control_reply_line(const Error& error);

// The body of a reply, or the server's Error. EPROTO: not a reply.
Result<JsonValue> parse_control_reply(std::string_view line);

}  // namespace sluice
