#include "daemon/server_end.hpp"

#include <fmt/format.h>

#include "core/retry.hpp"
#include "daemon/device_name.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kServerTimeout{10};
constexpr std::chrono::seconds kKillTimeout{5};

}  // namespace

bool wait_for_server(const DeviceRecord& record) {
  return wait_until(kServerTimeout, [&] { return server_life(record) == Life::dead; });
}

Result<void> wait_for_end(const DeviceRecord& record) {
  if (wait_until(kKillTimeout, [&] { return server_life(record) == Life::dead; })) return {};
  return fail(EBUSY,
              fmt::format("the server of {}, process {}, was killed and does not end: something "
                          "behind the device hangs in the kernel",
                          described(record), record.pid));
}

}  // namespace sluice
