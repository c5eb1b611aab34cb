#include "daemon/device_commands.hpp"

#include <chrono>
#include <optional>

#include "daemon/figures.hpp"
#include "daemon/notify.hpp"

namespace sluice {
namespace {

using nlohmann::json;

json about(const Device& device) {
  const DeviceRecord record = device.record();
  return {
      {"id", record.id},     {"device", record.path},
      {"pid", record.pid},   {"frontend", record.frontend},
      {"mode", record.mode}, {"mode_reason", record.mode_reason},
  };
}

Result<json> stat(const Device& device, const json& request) {
  const bool buckets = request.value("buckets", false);
  json reply = about(device);
  // For rates: the time of these figures on a clock that only goes forward.
  reply["time_ns"] = std::chrono::steady_clock::now().time_since_epoch().count();
  QueueReport total;
  json queues = json::array();
  for (const QueueReport& report : device.reports()) {
    total.add(report);
    json queue = report_json(report, buckets);
    queue["queue"] = queues.size();
    queue["thread"] = report.thread_id;
    queues.push_back(std::move(queue));
  }
  reply["total"] = report_json(total, buckets);
  reply["queues"] = std::move(queues);
  return reply;
}

Result<json> inspect(const Device& device) {
  auto requests = device.in_flight();
  if (!requests) return std::unexpected(requests.error());
  json reply = about(device);
  reply["requests"] = std::move(*requests);
  return reply;
}

Result<json> stop(Device& device, const json& request) {
  const auto stopped = request.value("force", false) ? device.stop() : device.stop_unless_busy();
  if (!stopped) return std::unexpected(stopped.error());
  return json::object();
}

Result<json> resize(Device& device, const json& request) {
  std::optional<uint64_t> wanted;
  if (request.contains("size_bytes")) wanted = request.at("size_bytes").get<uint64_t>();
  const auto resized = device.resize(wanted);
  if (!resized) return std::unexpected(resized.error());
  return json{{"size_bytes", *resized}};
}

Result<ControlReply> hand_over(Device& device, const json& request) {
  auto handover = device.request_handover(request.at("pid").get<int>());
  if (!handover) return std::unexpected(handover.error());
  return ControlReply{.body = {{"state", handover->state}, {"manager", manager_socket()}},
                      .descriptors = std::move(handover->descriptors)};
}

Result<json> quiesce(Device& device) {
  const auto handover = device.request_handover(std::nullopt);
  if (!handover) return std::unexpected(handover.error());
  return json::object();
}

Result<json> take_back(Device& device) {
  if (auto asked = device.request_return(); !asked) return std::unexpected(asked.error());
  return json::object();
}

}  // namespace

ControlCommands device_commands(Device& device) {
  ControlCommands commands;
  commands.add("stat", [&device](const json& request) { return stat(device, request); });
  commands.add("inspect", [&device](const json&) { return inspect(device); });
  commands.add("stop", [&device](const json& request) { return stop(device, request); });
  commands.add("resize", [&device](const json& request) { return resize(device, request); });
  commands.add_passing("hand_over",
                       [&device](const json& request) { return hand_over(device, request); });
  commands.add("quiesce", [&device](const json&) { return quiesce(device); });
  commands.add("take_back", [&device](const json&) { return take_back(device); });
  return commands;
}

}  // namespace sluice
