#include "daemon/device_commands.hpp"

#include <chrono>

#include "daemon/figures.hpp"

namespace sluice {
namespace {

using nlohmann::json;

json about(const Device& device) {
  const DeviceRecord& record = device.record();
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
  for (const QueueReport& report : device.frontend().reports()) {
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

}  // namespace

ControlCommands device_commands(Device& device) {
  ControlCommands commands;
  commands.add("stat", [&device](const json& request) { return stat(device, request); });
  return commands;
}

}  // namespace sluice
