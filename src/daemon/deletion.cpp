// delete_device(): through the server of the device, or without it.
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/descriptor.hpp"
#include "core/retry.hpp"
#include "daemon/ask.hpp"
#include "daemon/device_name.hpp"
#include "daemon/event_file.hpp"
#include "daemon/frontends.hpp"
#include "daemon/name_link.hpp"
#include "daemon/operations.hpp"
#include "daemon/server_death.hpp"
#include "daemon/server_end.hpp"
#include "daemon/socket_address.hpp"
#include "daemon/state_lock.hpp"
#include "frontend/no_such_device.hpp"
#include "frontend/registry.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kStopTimeout{60};    // for the server to write back its page cache
constexpr std::chrono::seconds kForceTimeout{10};   // the same, if it is killed afterwards
constexpr std::chrono::seconds kHungUpTimeout{2};   // for the end of a server that hung up
constexpr std::chrono::seconds kHolderTimeout{2};   // for users to close the device
constexpr std::chrono::seconds kSocketTimeout{10};  // for a server that is known only by its socket

// The server's state is unknown, and nobody listens: needs --force.
bool nobody_knows_it(const DeviceRecord& record) {
  const int refused = try_to_connect(control_path(record.id));
  return server_life(record) == Life::unknown && (refused == ENOENT || refused == ECONNREFUSED);
}

// Kills through a pidfd, so that no other process with a reused pid is hit.
Result<void> kill_server(const DeviceRecord& record) {
  const Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, record.pid, 0)));
  const Life life = server_life(record);
  if (life == Life::dead || life == Life::ending) return wait_for_end(record);
  if (life_of(mark_of(record)) != Life::alive || !process.valid()) {
    return fail(ESRCH, fmt::format("the server of device {} (process {}) cannot be killed from "
                                   "here: it is in another pid namespace, or /proc does not show "
                                   "it",
                                   record.id, record.pid));
  }
  if (syscall(SYS_pidfd_send_signal, process.number(), SIGKILL, nullptr, 0) != 0) {
    return fail(errno, fmt::format("cannot kill the server of device {} (process {}): {}",
                                   record.id, record.pid, std::strerror(errno)));
  }
  return wait_for_end(record);
}

// A server without a socket may be about to end, at another command's request.
bool ends_by_itself(const DeviceRecord& record, int error) {
  const bool hung_up = error == EPIPE || error == ECANCELED || error == ESRCH || error == ENOENT ||
                       error == ECONNREFUSED;
  return hung_up && wait_until(kHungUpTimeout, [&] { return server_life(record) == Life::dead; });
}

Result<void> tell_to_stop(const DeviceRecord& record, const DeleteOptions& options) {
  const auto told = ask(record.id, {{"command", "stop"}, {"force", options.force}},
                        options.force ? kForceTimeout : kStopTimeout);
  if (told) return {};
  if (!ends_by_itself(record, told.error().error)) return std::unexpected(told.error());
  const auto next = read_record(record.id);
  if (!next || !server_alive(*next)) return {};
  return fail(EBUSY, "the device now has another server: try again");
}

// The server stops its device and releases the number, which another device may get at once. False:
// it did not answer, and was killed as requested. `record` becomes that of its last server.
Result<bool> stop_by_server(DeviceRecord& record, const DeleteOptions& options) {
  const Retry retry(kForceTimeout, std::chrono::milliseconds(100));
  const auto is_away = [&](const auto& stopped) {  // during a handover
    return options.force && !stopped && stopped.error().error == EBUSY;
  };
  auto stopped = tell_to_stop(record, options);
  while (is_away(stopped) && retry.again()) {
    if (auto now = read_record(record.id)) record = std::move(*now);
    stopped = tell_to_stop(record, options);
  }
  if (!stopped) {
    if (options.force && nobody_knows_it(record)) return false;
    const int error = stopped.error().error;
    const bool silent = error == ETIMEDOUT || error == EPIPE || error == ESRCH || error == ENOENT ||
                        error == ECONNREFUSED || error == EBUSY || error == ECANCELED;
    if (!options.force || !silent) return std::unexpected(with_number(stopped.error(), record));
    if (auto killed = kill_server(record); !killed) return std::unexpected(killed.error());
    return false;
  }
  if (!options.wait || wait_for_server(record)) return true;
  if (options.force) {
    if (auto killed = kill_server(record); !killed) return std::unexpected(killed.error());
    return false;
  }
  return fail(EBUSY,
              fmt::format("the server of {}, process {}, was told to stop but has not ended yet: "
                          "it is writing back data, or its backing hangs ('--force' kills it)",
                          described(record), record.pid));
}

// An unreadable record does not identify the server: its socket does. If nobody listens, only the
// record is left.
Result<void> stop_by_socket(uint32_t id, const DeleteOptions& options) {
  const std::string path = control_path(id);
  const auto stopped = ask_at(path, {{"command", "stop"}, {"force", options.force}}, kStopTimeout);
  const int error = stopped ? 0 : stopped.error().error;
  if (error == ENOENT || error == ECONNREFUSED) return {};
  if (!stopped) return std::unexpected(stopped.error());
  wait_until(kSocketTimeout, [&] { return try_to_connect(path) != 0; });
  return {};
}

bool is_in_kernel(const KernelNumbers& numbers, uint32_t id) {
  return std::ranges::binary_search(numbers.all(), id);
}

// The front end whose driver has a device of this number, from any program.
const FrontendType* kernel_side_of(uint32_t id) {
  for (const FrontendType* const type : frontend_types()) {
    if (type->numbers != nullptr && is_in_kernel(*type->numbers, id)) return type;
  }
  return nullptr;
}

// A program that has it open keeps the number in use, possibly for ever.
void wait_for_number(const KernelNumbers& numbers, uint32_t id) {
  wait_until(kHolderTimeout,
             [&] { return !is_in_kernel(numbers, id) || read_record(id).has_value(); });
}

// Incomplete files of servers that died meanwhile: taking the lock removes them.
void clear_state_directory() {
  if (StateDirectory::open()) [[maybe_unused]]
    const auto lock = StateLock::take();
}

// Removes a device whose server, if it had a record, has ended. Its last record lists the remains.
Result<void> delete_remains(uint32_t id, const Result<DeviceRecord>& before,
                            const DeleteOptions& options) {
  const auto record = read_record(id);
  const bool unusable = !record && record.error().error == EBADMSG;
  // Another device may now have the number.
  if (record && !(before && is_same_server(*before, *record)) && server_alive(*record)) return {};
  const FrontendType* const type = kernel_side_of(id);
  if (!record && !unusable && type == nullptr) {
    return std::unexpected(record.error().error == ENOENT ? no_such_device(id) : record.error());
  }
  if (type != nullptr && (!record || record->frontend == type->name)) {
    auto cleared = type->clear_remains({.id = id}, options.force);
    if (!cleared) return cleared;
    if (options.wait) wait_for_number(*type->numbers, id);
  }
  if (unusable) return remove_unusable_record(id);
  if (!record) return {};
  if (kernel_numbers(*record) == nullptr) {
    if (auto cleared = clear_remains(*record); !cleared) return cleared;
  }
  remove_name_link(*record);
  auto removed = remove_record(*record);
  if (removed) record_event(*record, kDeleted, "without its server");
  return removed;
}

// For a server that was told to stop: nothing is left, unless it died in the attempt.
Result<void> clear_after(const DeviceRecord& record, const DeleteOptions& options) {
  if (!options.wait) return {};
  if (const KernelNumbers* const numbers = kernel_numbers(record)) {
    wait_for_number(*numbers, record.id);
  }
  remove_name_link(record);  // the server may have another /dev
  const auto left = read_record(record.id);
  const bool died = left && is_same_server(*left, record) && !server_alive(*left);
  return died ? delete_remains(record.id, record, options) : Result<void>();
}

}  // namespace

Result<void> delete_device(uint32_t id, const DeleteOptions& options) {
  auto record = read_record(id);
  if (!record && record.error().error == EBADMSG) {
    if (auto stopped = stop_by_socket(id, options); !stopped) return stopped;
  }
  if (record && server_life(*record) == Life::ending) wait_for_server(*record);
  if (record) note_server_death(*record);
  if (record && server_alive(*record)) {
    const auto stopped = stop_by_server(*record, options);
    if (!stopped) return std::unexpected(stopped.error());
    if (*stopped) {
      auto cleared = clear_after(*record, options);
      if (options.wait) clear_state_directory();
      return cleared;
    }
  }
  auto deleted = delete_remains(id, record, options);
  if (options.wait) clear_state_directory();
  const bool others_were_quicker = !deleted && deleted.error().error == ENODEV && record;
  return others_were_quicker ? Result<void>() : deleted;
}

}  // namespace sluice
