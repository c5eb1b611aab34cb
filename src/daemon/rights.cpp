#include "daemon/rights.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/call_filter.hpp"

namespace sluice {
namespace {

// Memory that is locked in the future counts against the limit of a user, not of root.
void keep_memory_lockable() {
  const rlimit none{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &none) == 0 || munlockall() != 0) return;
  [[maybe_unused]] const int locked = mlockall(MCL_CURRENT | MCL_ONFAULT);
}

bool has_no_capability() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  return syscall(SYS_capget, &header, sets.data()) == 0 &&
         std::ranges::all_of(
             sets, [](const auto& set) { return set.effective == 0 && set.permitted == 0; });
}

std::unexpected<Error> cannot_become(const User& user, const char* what, int cause) {
  return fail(cause, fmt::format("this server cannot become user {}: {}: {}", user.id, what,
                                 std::strerror(cause)));
}

}  // namespace

// The C library makes each of these calls on every thread.
Result<void> give_up_rights(const User& user) {
  keep_memory_lockable();
  if (setgroups(0, nullptr) != 0) return cannot_become(user, "setgroups", errno);
  if (setresgid(user.group, user.group, user.group) != 0)
    return cannot_become(user, "setresgid", errno);
  if (setresuid(user.id, user.id, user.id) != 0) return cannot_become(user, "setresuid", errno);
  if (!has_no_capability() || setuid(0) == 0) {
    return cannot_become(user, "it keeps capabilities", EPERM);
  }
  return filter_system_calls();
}

}  // namespace sluice
