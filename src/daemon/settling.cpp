#include "daemon/settling.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/step.hpp"
#include "daemon/event_log.hpp"
#include "daemon/log.hpp"
#include "daemon/process.hpp"
#include "daemon/residence.hpp"

namespace sluice {

Result<void> settle_down(Device& device, const ServeOptions& options) {
  const uint32_t debug_mask = device.record().debug_mask;
  protect_process();
  if (debug_mask == 0) end_at_once_when_crashed();
  if (auto hired = device.hire_keeper(); !hired) return hired;
  leave_mount_namespace();
  if (chdir("/") != 0) return fail(errno, fmt::format("cannot enter /: {}", std::strerror(errno)));
  step("namespace left");
  const DeviceRecord record = device.record();
  if (auto started = start_events(record.id, record.name); !started) return started;
  const bool quiet = options.foreground && options.quiet;
  return start_logging(options.foreground, log_path(device.id()), debug_mask, quiet);
}

}  // namespace sluice
