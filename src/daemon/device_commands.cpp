#include "daemon/device_commands.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <optional>
#include <utility>

#include "core/events.hpp"
#include "daemon/device_event.hpp"
#include "daemon/in_flight_json.hpp"
#include "daemon/stats.hpp"
#include "spec/size.hpp"
#include "target/registry.hpp"
#include "target/tree_lock.hpp"

namespace sluice {
namespace {

JsonValue about(const Device& device) {
  const DeviceRecord record = device.record();
  return {
      {"id", record.id},
      {"name", record.name},
      {"device", record.path},
      {"pid", record.pid},
      {"frontend", record.frontend},
      {"mode", record.mode},
      {"mode_reason", record.mode_reason},
      {"swap_safe", record.swap_risks.empty()},
      {"swap_risks", record.swap_risks},
  };
}

Result<JsonValue> stat(const Device& device, const JsonValue& request) {
  const bool buckets = request.value("buckets", false);
  JsonValue reply = about(device);
  // For rates: the time of these stats on a monotonic clock.
  reply.set("time_ns", std::chrono::steady_clock::now().time_since_epoch().count());
  QueueReport total;
  JsonValue queues = JsonValue::array();
  for (const QueueReport& report : device.reports()) {
    total.add(report);
    JsonValue queue = report_json(report, buckets);
    queue.set("queue", queues.items.size());
    queue.set("thread", report.thread_id);
    queues.push_back(std::move(queue));
  }
  reply.set("health", health_json(device.health()));
  reply.set("total", report_json(total, buckets));
  reply.set("queues", std::move(queues));
  return reply;
}

JsonValue jobs_json(const std::vector<Jobs::Report>& jobs) {
  JsonValue list = JsonValue::array();
  for (const Jobs::Report& job : jobs) {
    list.push_back({{"name", job.name},
                    {"share", job.share},
                    {"steps", job.steps},
                    {"running", job.running},
                    {"errno", job.status.error()}});
  }
  return list;
}

Result<JsonValue> inspect(const Device& device) {
  auto requests = device.in_flight();
  if (!requests) return std::unexpected(requests.error());
  JsonValue reply = about(device);
  const std::shared_lock guard(tree_lock());
  reply.set("requests", in_flight_json(std::move(*requests), device.root()));
  reply.set("jobs", jobs_json(device.jobs()));
  return reply;
}

JsonValue nodes(const Device& device) {
  JsonValue list = JsonValue::array();
  for (const StackNode& node : device.nodes()) {
    JsonValue verbs = JsonValue::array();
    for (const TargetSyntax& verb : find_target_type(node.type)->verbs) verbs.push_back(verb.name);
    list.push_back({{"path", node.path},
                    {"target", node.type},
                    {"name", node.name},
                    {"verbs", std::move(verbs)}});
  }
  return {{"nodes", std::move(list)}};
}

Result<ControlReply> resize(Device& device, const JsonValue& request) {
  std::optional<uint64_t> wanted;
  if (request.contains("size_bytes")) wanted = request.at("size_bytes").get<uint64_t>();
  const uint64_t before = device.record().size_bytes;
  const auto resized = device.resize(wanted);
  if (!resized) return std::unexpected(resized.error());
  const auto change = fmt::format("from {} to {}", format_size(before), format_size(*resized));
  if (*resized != before) emit({.kind = kResized, .text = change});
  return ControlReply{.body = {{"size_bytes", *resized}}, .descriptors = {}};
}

Result<ControlReply> control(Device& device, Letter& letter) {
  auto answer =
      device.control(letter.request.at("path").get<std::string>(),
                     letter.request.at("verb").get<std::string>(), std::move(letter.descriptors));
  if (!answer) return std::unexpected(answer.error());
  return ControlReply{.body = {{"answer", std::move(*answer)}}, .descriptors = {}};
}

}  // namespace

Result<ControlReply> change_device(Device& device, Letter& letter) {
  if (letter.command == "resize") return resize(device, letter.request);
  return control(device, letter);
}

void follow_growth(Device& device) {
  if (const auto resized = resize(device, JsonValue::object()); !resized) {
    spdlog::warn("device {} keeps its size: {}", device.id(), resized.error().text);
  }
}

ControlCommands device_commands(const Device& device, Mailbox& mailbox) {
  ControlCommands commands;
  commands.add("stat", [&device](const JsonValue& request) { return stat(device, request); });
  commands.add("inspect", [&device](const JsonValue&) { return inspect(device); });
  commands.add("nodes", [&device](const JsonValue&) { return nodes(device); });
  for (const char* const name : {"stop", "resize", "control", "quiesce", "begin_handover",
                                 "pass_files", "hand_over", "commit_handover", "take_back"}) {
    commands.add_slow(name, [&mailbox, name](const JsonValue& request, auto&& descriptors,
                                             ControlAnswer&& answer) {
      mailbox.put({.kind = Letter::Kind::command,
                   .command = name,
                   .request = request,
                   .descriptors = std::move(descriptors),
                   .answer = std::move(answer)});
    });
  }
  return commands;
}

}  // namespace sluice
