#include "daemon/server_end.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include "core/retry.hpp"
#include "daemon/clerk.hpp"
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

void tell_to_end(const DeviceRecord& next) {
  if (Clerk* const clerk = Clerk::in_charge()) {
    if (auto told = clerk->end_next_server(); !told) spdlog::warn("{}", told.error().text);
  } else if (life_of(mark_of(next)) == Life::alive) {
    kill(next.pid, SIGTERM);
  }
}

}  // namespace sluice
