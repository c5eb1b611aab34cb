#include "daemon/control_request.hpp"

#include <fmt/format.h>

#include "sluice_version.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

using nlohmann::json;

constexpr size_t kMaxReasonBytes = 200;
constexpr int kMaxDepth = 64;  // of arrays and objects in each other; what writes JSON recurses

struct TooDeep {};

bool check_depth(int depth, json::parse_event_t, json&) {
  if (depth > kMaxDepth) throw TooDeep();
  return true;
}

std::string line_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

Result<json> parse_object(std::string_view line) {
  try {
    json value = json::parse(line, check_depth);
    if (value.is_object()) return value;
    return fail(EINVAL, "it is no object");
  } catch (const json::exception& error) {
    return fail(EINVAL, printable(error.what(), kMaxReasonBytes));
  } catch (const TooDeep&) {
    return fail(EINVAL, fmt::format("it is nested more than {} deep", kMaxDepth));
  }
}

}  // namespace

Result<ControlRequest> parse_control_request(std::string_view line) {
  auto body = parse_object(line);
  if (!body) {
    return fail(EINVAL, fmt::format("a request is a JSON object on one line, such as "
                                    "{{\"command\": \"stat\"}}: {}",
                                    body.error().text));
  }
  const auto command = body->find("command");
  if (command == body->end() || !command->is_string()) {
    return fail(EINVAL, "a request names its command: {\"command\": \"stat\"}");
  }
  ControlRequest request{.command = command->get<std::string>(), .body = {}};
  request.body = std::move(*body);
  return request;
}

std::string control_reply_line(json body) {
  if (!body.is_object()) body = json::object();
  body["ok"] = true;
  body["version"] = kVersion;
  return line_of(body);
}

std::string control_reply_line(const Error& error) {
  return line_of(
      {{"ok", false}, {"version", kVersion}, {"errno", error.error}, {"error", error.text}});
}

Result<json> parse_control_reply(std::string_view line) {
  auto body = parse_object(line);
  try {
    if (body && body->at("ok").get<bool>()) return body;
    if (body) {
      const std::string text = body->at("error").get<std::string>();
      return fail(body->at("errno").get<int>(), printable(text, std::string::npos));
    }
  } catch (const json::exception&) {
    // No reply of ours, as the sentence below says.
  }
  return fail(EPROTO, "what answered there does not speak as a server of sluice does");
}

}  // namespace sluice
