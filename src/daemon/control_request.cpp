#include "daemon/control_request.hpp"

#include <fmt/format.h>

#include "sluice_version.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr size_t kMaxDepth = 64;  // of nested arrays and objects; the JSON writer is recursive

std::string line_of(const JsonValue& value) { return to_text(value) + '\n'; }

Result<JsonValue> parse_object(std::string_view line) {
  auto tree = parse_json_tree(line, kMaxDepth);
  if (tree && tree->is_object()) return *std::move(tree);
  if (tree) return fail(EINVAL, "it is not an object");
  switch (tree.error().kind) {
    case JsonFault::Kind::syntax:
      return fail(EINVAL, fmt::format("from byte {} on it is not JSON", tree.error().byte));
    case JsonFault::Kind::number:
      return fail(EINVAL, "it holds a number that is out of range");
    case JsonFault::Kind::nesting:
      return fail(EINVAL, fmt::format("it is nested more than {} deep", kMaxDepth));
  }
  std::unreachable();
}

}  // namespace

Result<ControlRequest> parse_control_request(std::string_view line) {
  auto body = parse_object(line);
  if (!body) {
    return fail(EINVAL, fmt::format("a request is a JSON object on one line, such as "
                                    "{{\"command\": \"stat\"}}: {}",
                                    body.error().text));
  }
  const JsonValue* const command = body->find("command");
  if (command == nullptr || !command->is_text()) {
    return fail(EINVAL, "a request names its command: {\"command\": \"stat\"}");
  }
  ControlRequest request{.command = command->get<std::string>(), .body = {}};
  request.body = std::move(*body);
  return request;
}

std::string control_reply_line(JsonValue body) {
  if (!body.is_object()) body = JsonValue::object();
  body.set("ok", true);
  body.set("version", kVersion);
  return line_of(body);
}

std::string control_reply_line(const Error& error) {
  return line_of(
      {{"ok", false}, {"version", kVersion}, {"errno", error.error}, {"error", error.text}});
}

Result<JsonValue> parse_control_reply(std::string_view line) {
  auto body = parse_object(line);
  try {
    if (body && body->at("ok").get<bool>()) return body;
    if (body) {
      const std::string text = body->at("error").get<std::string>();
      return fail(body->at("errno").get<int>(), printable(text, std::string::npos));
    }
  } catch (const JsonMismatch&) {
    // Not a valid reply: reported below.
  }
  return fail(EPROTO, "the reply is not that of a sluice server");
}

}  // namespace sluice
