#include "frontend/ublk/safe_stop.hpp"

#include <fmt/format.h>

#include <chrono>

#include "core/bounded_look.hpp"
#include "core/file_id.hpp"
#include "core/holders.hpp"
#include "core/log.hpp"
#include "core/retry.hpp"

namespace sluice::ublk {
namespace {

constexpr std::chrono::milliseconds kOpenTimeout{500};  // for short-lived openers

// The driver reported EBUSY; this finds the users.
Error in_use(uint32_t id) {
  const std::string path = block_device_path(id);
  const auto found = identify(path);
  const auto holders = found ? find_holders(found->number, {}) : Holders();
  const bool known = holders && !holders->none();
  return {EBUSY,
          fmt::format("{} is in use ({}): release it first, or use --force and lose unwritten data",
                      path, known ? holders->text() : "mounted or open")};
}

// Before Linux 7.0 the driver cannot tell. The server may hang, and then opening the device would
// block.
Result<void> check_unused(uint32_t id) {
  const std::string path = block_device_path(id);
  const auto found = identify(path);
  if (!found) return {};
  const auto claimed =
      look_bounded(1, [&](size_t) { return std::string(is_claimed(path) ? "claimed" : ""); });
  if (!claimed) return std::unexpected(claimed.error());
  const auto unseen = check_unheld(
      {.path = path, .device = found->number, .claimed = !claimed->front().value_or("").empty()});
  if (!unseen) return std::unexpected(unseen.error());
  for (const std::string& each : *unseen) {
    log().warn("{}: cannot see whether it is used by {}, which does not answer", path, each);
  }
  return {};
}

}  // namespace

Result<void> stop_unless_busy(Control& control, uint32_t id) {
  auto stopped = control.try_stop(id);
  // udev opens new devices for a moment.
  const Retry retry(kOpenTimeout, std::chrono::milliseconds(20));
  while (!stopped && stopped.error().error == EBUSY && retry.again()) {
    stopped = control.try_stop(id);
  }
  if (stopped) return stopped;
  const int error = stopped.error().error;
  if (error == EBUSY) return std::unexpected(in_use(id));
  if (error == ENODEV) return control.stop(id);  // never went live
  if (error != EOPNOTSUPP && error != EINVAL) return stopped;
  if (auto unused = check_unused(id); !unused) return unused;
  return control.stop(id);
}

}  // namespace sluice::ublk
