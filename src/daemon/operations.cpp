#include "daemon/operations.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "daemon/ask.hpp"
#include "daemon/bind_thread.hpp"
#include "daemon/caller.hpp"
#include "daemon/device_name.hpp"
#include "daemon/server_death.hpp"
#include "daemon/server_end.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kQuiesceTimeout{40};  // longer than the server's own limit

Result<Served> served(const Result<Announcement>& announced) {
  if (!announced) return std::unexpected(announced.error());
  auto record = read_record(announced->id);
  if (!record) return std::unexpected(record.error());
  return Served{std::move(*record), announced->notes};
}

Result<std::vector<int>> descriptors_to_keep(const ServeOptions& options) {
  std::vector<int> found = named_descriptors(options.spec);
  for (const int each : found) {
    if (each > STDERR_FILENO) continue;
    return fail(EINVAL, fmt::format("a server does not keep its caller's descriptor {}: open the "
                                    "file under another number, as with 3<FILE",
                                    each));
  }
  if (found.empty() || options.frontend.recovery == Recovery::none) return found;
  return fail(EINVAL, fmt::format("a device that is to outlive its server (-r 1) cannot stand on "
                                  "/dev/fd/{}, which no other process has: name the file itself",
                                  found.front()));
}

// The record of an earlier server of the same device: it has the same number, name or place.
std::optional<DeviceRecord> record_left_by(const ServeOptions& options) {
  const FrontendOptions& frontend = options.frontend;
  if (auto record = read_record(frontend.id)) return std::move(*record);
  if (frontend.id != kAnyId) return std::nullopt;
  const std::string at = frontend.own.text("at");
  for (DeviceRecord& record : read_records()) {
    const bool has_name = !options.name.empty() && record.name == options.name;
    const bool is_there = !at.empty() && record.at == at;
    if (has_name || is_there) return std::move(record);
  }
  return std::nullopt;
}

}  // namespace

Result<Served> add_device(const ServeOptions& options) {
  const auto kept = descriptors_to_keep(options);
  if (!kept) return std::unexpected(kept.error());
  return served(run_in_background(
      [&](const Ready& ready) { return serve_new_device(options, ready); }, *kept));
}

Result<void> add_device_in_foreground(const ServeOptions& options, const Ready& ready) {
  auto kept = descriptors_to_keep(options);
  if (!kept) return std::unexpected(kept.error());
  kept->insert(kept->end(), options.kept.begin(), options.kept.end());
  leave_caller(*kept);
  const auto left = record_left_by(options);
  if (options.resume && left && !server_alive(*left) && !is_stale(*left)) {
    note_server_death(*left);
    if (left->recovery != "none") return serve_recovered_device(*left, true, ready);
    if (auto cleared = delete_device(left->id, {}); !cleared) return cleared;
  }
  return serve_new_device(options, ready);
}

Result<Served> recover_device(uint32_t id, const RecoverOptions& options) {
  auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (server_life(*record) == Life::ending) {
    if (auto ended = wait_for_end(*record); !ended) return std::unexpected(ended.error());
  }
  if (server_alive(*record)) {
    return fail(EBUSY, fmt::format("{} is being served by process {}: there is nothing to recover",
                                   described(*record), record->pid));
  }
  note_server_death(*record);
  if (options.other_file) record->files.clear();  // accepts any
  return served(run_in_background(
      [&](const Ready& ready) { return serve_recovered_device(*record, false, ready); }));
}

Result<Served> upgrade_device(uint32_t id) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) {
    return std::unexpected(server_is_gone(*record));
  }
  auto upgraded = served(
      run_in_background([&](const Ready& ready) { return serve_upgraded_device(*record, ready); }));
  if (upgraded) wait_for_server(*record);
  return upgraded;
}

Result<void> quiesce_device(uint32_t id) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  const auto quiesced = ask(id, {{"command", "quiesce"}}, kQuiesceTimeout);
  if (!quiesced) return std::unexpected(quiesced.error());
  wait_for_server(*record);
  return {};
}

Result<uint64_t> resize_device(uint32_t id, std::optional<uint64_t> size_bytes) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  JsonValue request = {{"command", "resize"}};
  if (size_bytes) request.set("size_bytes", *size_bytes);
  const auto resized = ask(id, request);
  if (!resized) return std::unexpected(with_number(resized.error(), *record));
  return resized->value("size_bytes", uint64_t{0});
}

Result<void> set_queue_affinity(uint32_t id, uint16_t queue, const std::vector<int>& processors) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) {
    return std::unexpected(server_is_gone(*record));
  }
  if (life_of(mark_of(*record)) != Life::alive) {
    return fail(ESRCH, fmt::format("the threads of device {} cannot be seen from here: its server "
                                   "(process {}) is in another pid namespace, or /proc does not "
                                   "show it",
                                   id, record->pid));
  }
  if (queue >= record->threads.size()) {
    return fail(EINVAL, fmt::format("{} has no queue {}: its queues are 0 to {}",
                                    described(*record), queue, record->threads.size() - 1));
  }
  return bind_thread(record->threads[queue], processors);
}

}  // namespace sluice
