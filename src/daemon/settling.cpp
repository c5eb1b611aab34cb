#include "daemon/settling.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "core/step.hpp"
#include "core/thread.hpp"
#include "daemon/clerk.hpp"
#include "daemon/event_log.hpp"
#include "daemon/log.hpp"
#include "daemon/process.hpp"
#include "daemon/residence.hpp"
#include "daemon/rights.hpp"
#include "daemon/user.hpp"

namespace sluice {

Result<void> settle_down(Device& device, const ServeOptions& options) {
  const uint32_t debug_mask = device.record().debug_mask;
  protect_process();
  if (debug_mask == 0) end_at_once_when_crashed();
  if (auto hired = device.hire_keeper(); !hired) return hired;
  const DeviceRecord record = device.record();
  if (!record.user.empty()) {
    if (auto hired = Clerk::hire(record); !hired) return hired;
    step("clerk hired");
  }
  leave_mount_namespace();
  if (chdir("/") != 0) return fail(errno, fmt::format("cannot enter /: {}", std::strerror(errno)));
  step("namespace left");
  if (auto started = start_events(record.id, record.name); !started) return started;
  const bool quiet = options.foreground && options.quiet;
  return start_logging(options.foreground, log_path(device.id()), debug_mask, quiet);
}

// If `make` waits for the ublk driver, the kernel gives the thread io_uring workers, which live as
// long and stay in the mount namespace of the caller.
Result<std::unique_ptr<Device>> make_aside(
    const std::function<Result<std::unique_ptr<Device>>()>& make) {
  Result<std::unique_ptr<Device>> device;
  auto thread = start_thread("sluice-begin", [&] {
    try {
      device = make();
    } catch (const std::bad_alloc&) {
      device = fail(ENOMEM, "out of memory");
    }
  });
  if (!thread) return std::unexpected(thread.error());
  thread->join();
  return device;
}

// The threads of log and events have opened what they need. The keeper would do for strangers what
// root may; this front end asks it for nothing.
Result<void> settle_for_rights(Device& device) {
  const DeviceRecord record = device.record();
  if (record.user.empty()) return {};
  const auto user = find_user(record.user);
  if (!user) return std::unexpected(user.error());
  finish_logging();
  finish_events();
  drop_mounts(state_directory());
  device.dismiss_keeper();
  if (auto taken = Clerk::hired()->take_charge(record); !taken) return taken;
  step("clerk in charge");
  if (auto given = give_up_rights(*user); !given) return given;
  step("rights given up");
  return {};
}

}  // namespace sluice
