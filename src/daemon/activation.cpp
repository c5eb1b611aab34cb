#include "daemon/activation.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/whole_number.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr const char* kVariables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
                                      "LISTEN_PIDFDID"};

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

Result<std::vector<int>> take_activated_descriptors() {
  const auto process = variable("LISTEN_PID");
  const auto count = variable("LISTEN_FDS");
  for (const char* const name : kVariables) unsetenv(name);
  std::vector<int> found;
  if (!process || !count) return found;
  const auto pid = whole_number(*process);
  if (!pid) return fail(EINVAL, fmt::format("LISTEN_PID is {}: no process", shown(*process)));
  if (*pid != getpid()) return found;
  const auto number = whole_number(*count);
  if (!number || *number > kActivatedMax) {
    return fail(EINVAL, fmt::format("LISTEN_FDS is {}: it must be a number up to {}", shown(*count),
                                    kActivatedMax));
  }
  for (int each = kFirstActivated; each < kFirstActivated + *number; ++each) {
    if (fcntl(each, F_SETFD, FD_CLOEXEC) != 0) {
      return fail(EBADF,
                  fmt::format("LISTEN_FDS is {}, but descriptor {} is not open", *count, each));
    }
    found.push_back(each);
  }
  return found;
}

}  // namespace sluice
