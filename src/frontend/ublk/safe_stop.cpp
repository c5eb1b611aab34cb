#include "frontend/ublk/safe_stop.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace sluice::ublk {
namespace {

constexpr std::chrono::milliseconds kOpenPatience{500};  // for those who only have a look

// A mounted file system, a swap area or a device-mapper table holds a block device exclusively.
bool held_exclusively(uint32_t id) {
  const int file = open(block_device_path(id).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  if (file < 0) return errno == EBUSY;
  close(file);
  return false;
}

Error in_use(uint32_t id) {
  return {EBUSY, fmt::format("{} is in use (mounted or open): unmount it first, or use --force and "
                             "lose what is not yet written",
                             block_device_path(id))};
}

}  // namespace

Result<void> stop_unless_busy(Control& control, uint32_t id) {
  auto stopped = control.try_stop(id);
  // udev opens new devices for a moment.
  const auto give_up = std::chrono::steady_clock::now() + kOpenPatience;
  while (!stopped && stopped.error().error == EBUSY && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stopped = control.try_stop(id);
  }
  if (stopped) return stopped;
  const int error = stopped.error().error;
  if (error == EBUSY) return std::unexpected(in_use(id));
  if (error == ENODEV) return control.stop(id);  // never went live
  if (error != EOPNOTSUPP && error != EINVAL) return stopped;
  // Before Linux 7.0 the driver cannot say; an exclusive holder can be seen all the same.
  if (held_exclusively(id)) return std::unexpected(in_use(id));
  return control.stop(id);
}

}  // namespace sluice::ublk
