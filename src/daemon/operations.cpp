#include "daemon/operations.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "daemon/ask.hpp"
#include "frontend/ublk/control.hpp"
#include "frontend/ublk/safe_stop.hpp"

namespace sluice {
namespace {

using ublk::Control;

constexpr std::chrono::seconds kServerPatience{10};   // for a server to end after its device
constexpr std::chrono::seconds kQuiescePatience{40};  // longer than the server's own
constexpr std::chrono::seconds kHolderPatience{2};    // for whoever has it open to let go

bool is_ublk(const DeviceRecord& record) {
  return record.frontend == to_string(FrontendKind::ublk);
}

Result<Served> served(const Result<Announcement>& announced) {
  if (!announced) return std::unexpected(announced.error());
  auto record = read_record(announced->id);
  if (!record) return std::unexpected(record.error());
  return Served{std::move(*record), announced->notes};
}

// Forced off a device that stays open, for instance mounted, the driver keeps its id until that
// ends. That may be never: it is not waited for longer than a holder needs who has noticed.
Result<void> free_id(Control& control, uint32_t id, const DeleteOptions& options) {
  const auto removed = control.remove(id, options.wait && !options.force);
  if (!removed && removed.error().error != ENODEV) return removed;
  const auto give_up = std::chrono::steady_clock::now() + kHolderPatience;
  while (options.wait && control.info(id) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return {};
}

void wait_for_server(const DeviceRecord& record) {
  const auto give_up = std::chrono::steady_clock::now() + kServerPatience;
  while (server_alive(record) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

Error no_such_device(uint32_t id) {
  return {ENODEV, fmt::format("there is no device {}: 'sluice list' shows all", id)};
}

// A device that no driver knows is stopped by its server. What a dead one has left is cleared away.
Result<void> delete_served(const DeviceRecord& record, const DeleteOptions& options) {
  if (!server_alive(record)) {
    if (auto cleared = clear_remains(record); !cleared) return cleared;
    remove_record(record.id);
    return {};
  }
  const auto stopped = ask(record.id, {{"command", "stop"}, {"force", options.force}});
  if (!stopped) return std::unexpected(stopped.error());
  if (options.wait) wait_for_server(record);
  return {};
}

// Adds what the driver says to `listings`. A machine without one has no ublk devices.
Result<void> ask_driver(std::optional<uint32_t> id, std::map<uint32_t, DeviceListing>& listings) {
  if (id && listings.contains(*id) && !is_ublk(*listings[*id].record)) return {};
  auto control = Control::open();
  if (!control) {
    if (!id || listings.contains(*id)) return {};
    return std::unexpected(no_such_device(*id));
  }
  for (const uint32_t each : id ? std::vector<uint32_t>{*id} : Control::ids()) {
    const auto info = (*control)->info(each);
    if (!info) {
      if (id) return std::unexpected(info.error());
      listings.erase(each);  // deleted meanwhile
      continue;
    }
    DriverListing& driver = listings[each].driver.emplace();
    driver.info = *info;
    if (const auto parameters = (*control)->parameters(each)) driver.parameters = *parameters;
    for (uint16_t queue = 0; queue < info->queues; ++queue) {
      const auto processors = (*control)->queue_affinity(each, queue);
      driver.affinities.push_back(processors ? *processors : std::vector<int>{});
    }
  }
  return {};
}

// What an earlier server of the same device wrote: the same by its number, or by where it appears.
std::optional<DeviceRecord> record_left_by(const ServeOptions& options) {
  const FrontendOptions& frontend = options.frontend;
  if (auto record = read_record(frontend.device.id)) return std::move(*record);
  if (frontend.device.id != ublk::kAnyId || frontend.at.empty()) return std::nullopt;
  for (DeviceRecord& record : read_records()) {
    if (record.at == frontend.at) return std::move(record);
  }
  return std::nullopt;
}

}  // namespace

Result<Served> add_device(const ServeOptions& options) {
  return served(
      run_in_background([&](const Ready& ready) { return serve_new_device(options, ready); }));
}

Result<void> add_device_in_foreground(const ServeOptions& options, const Ready& ready) {
  const auto left = record_left_by(options);
  if (options.resume && left && !server_alive(*left) && !is_stale(*left)) {
    if (left->recovery != "none") return serve_recovered_device(*left, true, ready);
    if (auto cleared = delete_device(left->id, {}); !cleared) return cleared;
  }
  return serve_new_device(options, ready);
}

Result<Served> recover_device(uint32_t id) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (server_alive(*record)) {
    return fail(EBUSY, fmt::format("device {} is being served by process {}: there is nothing to "
                                   "recover",
                                   id, record->pid));
  }
  return served(run_in_background(
      [&](const Ready& ready) { return serve_recovered_device(*record, false, ready); }));
}

Result<Served> upgrade_device(uint32_t id) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) {
    return fail(ESRCH, fmt::format("the server of device {} (process {}) is gone: use 'sluice "
                                   "recover -n {}'",
                                   id, record->pid, id));
  }
  auto upgraded = served(
      run_in_background([&](const Ready& ready) { return serve_upgraded_device(*record, ready); }));
  if (upgraded) wait_for_server(*record);
  return upgraded;
}

Result<void> quiesce_device(uint32_t id) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  const auto quiesced = ask(id, {{"command", "quiesce"}}, kQuiescePatience);
  if (!quiesced) return std::unexpected(quiesced.error());
  wait_for_server(*record);
  return {};
}

Result<uint64_t> resize_device(uint32_t id, std::optional<uint64_t> size_bytes) {
  nlohmann::json request = {{"command", "resize"}};
  if (size_bytes) request["size_bytes"] = *size_bytes;
  const auto resized = ask(id, request);
  if (!resized) return std::unexpected(resized.error());
  return resized->value("size_bytes", uint64_t{0});
}

Result<void> delete_device(uint32_t id, const DeleteOptions& options) {
  const auto record = read_record(id);
  if (record && !is_ublk(*record)) return delete_served(*record, options);
  auto control = Control::open();
  if (!control) return std::unexpected(record ? control.error() : no_such_device(id));
  if (const auto info = (*control)->info(id); !info) return std::unexpected(info.error());
  const auto stopped = options.force ? (*control)->stop(id) : ublk::stop_unless_busy(**control, id);
  if (!stopped) return stopped;
  if (auto freed = free_id(**control, id, options); !freed) return freed;
  if (record && options.wait) wait_for_server(*record);
  if (record) remove_record(id);
  return {};
}

Result<void> set_queue_affinity(uint32_t id, uint16_t queue, const std::vector<int>& processors) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) {
    return fail(ESRCH, fmt::format("the server of device {} (process {}) is gone: recover the "
                                   "device first",
                                   id, record->pid));
  }
  if (queue >= record->threads.size()) {
    return fail(EINVAL, fmt::format("device {} has no queue {}: its queues are 0 to {}", id, queue,
                                    record->threads.size() - 1));
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(static_cast<size_t>(processor), &set);
  if (sched_setaffinity(record->threads[queue], sizeof(set), &set) == 0) return {};
  return fail(errno, fmt::format("cannot bind queue {} of device {} to these processors: {}", queue,
                                 id, std::strerror(errno)));
}

Result<std::vector<DeviceListing>> list_devices(std::optional<uint32_t> id) {
  std::map<uint32_t, DeviceListing> listings;
  for (DeviceRecord& record : read_records()) {
    if ((id && *id != record.id) || (is_ublk(record) && is_stale(record))) continue;
    DeviceListing& listing = listings[record.id];
    listing.alive = server_alive(record);
    listing.record = std::move(record);
  }
  if (auto looked = ask_driver(id, listings); !looked) return std::unexpected(looked.error());
  std::vector<DeviceListing> found;
  for (auto& [each, listing] : listings) {
    listing.id = each;
    found.push_back(std::move(listing));
  }
  return found;
}

Result<uint64_t> driver_features() {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  return (*control)->features();
}

}  // namespace sluice
