#include "daemon/handover_messages.hpp"

#include <utility>

namespace sluice {
namespace {

JsonValue to_json(const std::vector<MissingNode>& missing) {
  JsonValue array = JsonValue::array();
  for (const auto& [path, why] : missing) {
    array.push_back({{"path", path}, {"errno", why.error}, {"error", why.text}});
  }
  return array;
}

std::vector<MissingNode> missing_from(const JsonValue& message) {
  std::vector<MissingNode> missing;
  const JsonValue* const array = message.find("missing");
  if (array == nullptr) return missing;
  for (const JsonValue& node : array->items) {
    missing.push_back({.path = node.at("path").get<std::string>(),
                       .why = {.error = node.at("errno").get<int>(),
                               .text = node.at("error").get<std::string>()}});
  }
  return missing;
}

}  // namespace

JsonValue to_json(const HandoverRequest& request) {
  JsonValue message = {{"command", "begin_handover"},
                       {"pid", request.successor.pid},
                       {"started", request.successor.started},
                       {"scope", request.successor.scope}};
  note_handover_version(message);
  return message;
}

HandoverRequest handover_request_from(const JsonValue& message) {
  return {.successor = {.pid = message.at("pid").get<int>(),
                        .started = message.value("started", uint64_t{0}),
                        .scope = message.value("scope", std::string())}};
}

JsonValue to_json(const HandoverOffer& offer) {
  JsonValue message = {{"record", offer.record},
                       {"frontend_state", offer.frontend_state},
                       {"files", offer.files},
                       {"manager", offer.manager}};
  if (!offer.missing.empty()) message.set("missing", to_json(offer.missing));
  note_handover_version(message);
  return message;
}

Result<HandoverOffer> handover_offer_from(const JsonValue& message) {
  const auto version = handover_version_of(message);
  if (!version) return std::unexpected(version.error());
  return HandoverOffer{.version = *version,
                       .record = message.at("record").get<std::string>(),
                       .frontend_state = message.value("frontend_state", std::string()),
                       .files = message.value("files", size_t{0}),
                       .missing = missing_from(message),
                       .manager = message.value("manager", std::string())};
}

JsonValue files_request(size_t from) { return {{"command", "pass_files"}, {"from", from}}; }

size_t files_wanted_from(const JsonValue& message) { return message.at("from").get<size_t>(); }

JsonValue to_json(const GivenDevice& given) {
  JsonValue message = {{"state", given.frontend_state}, {"stack_failed", given.stack_failed}};
  if (!given.failed_disks.empty()) {
    JsonValue disks = JsonValue::array();
    for (const size_t disk : given.failed_disks) disks.push_back(disk);
    message.set("failed_disks", std::move(disks));
  }
  note_handover_version(message);
  return message;
}

Result<GivenDevice> given_device_from(const JsonValue& message) {
  if (const auto version = handover_version_of(message); !version) {
    return std::unexpected(version.error());
  }
  GivenDevice given{.frontend_state = message.value("state", std::string()),
                    .stack_failed = message.value("stack_failed", false)};
  if (const JsonValue* const disks = message.find("failed_disks")) {
    for (const JsonValue& each : disks->items) given.failed_disks.push_back(each.get<size_t>());
  }
  return given;
}

}  // namespace sluice
