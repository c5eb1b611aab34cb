#include "daemon/state_location.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr const char* kChosen = "SLUICE_STATE_DIR";

std::string directory_in_tmp() { return fmt::format("/tmp/sluice-{}", geteuid()); }

// True if it exists and belongs to this user. `su` and `sudo` may leave another user's in the
// environment.
bool is_own(const std::string& directory) {
  struct stat status{};
  return stat(directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == geteuid();
}

}  // namespace

std::string state_directory() {
  if (const char* const chosen = std::getenv(kChosen)) return chosen;
  if (geteuid() == 0) return kSystemStateDirectory;
  const char* const given = std::getenv("XDG_RUNTIME_DIR");
  const std::string usual = fmt::format("/run/user/{}", geteuid());
  for (const std::string& runtime : {std::string(given != nullptr ? given : ""), usual}) {
    if (runtime.starts_with('/') && is_own(runtime)) return runtime + "/sluice";
  }
  return directory_in_tmp();
}

Result<void> check_state_directory() {
  const std::string directory = state_directory();
  if (!directory.starts_with('/')) {
    // A server has a different current directory.
    return fail(EINVAL,
                fmt::format("{} is {}, but must be an absolute path", kChosen, shown(directory)));
  }
  if (std::getenv(kChosen) != nullptr || directory != directory_in_tmp()) return {};
  const bool made = mkdir(directory.c_str(), 0700) == 0;
  const int cause = errno;
  if (made) chmod(directory.c_str(), 0700);
  struct stat status{};
  if (lstat(directory.c_str(), &status) != 0) {
    return fail(cause, fmt::format("cannot make the directory {} for state files ({}): set "
                                   "XDG_RUNTIME_DIR to a directory of your own",
                                   directory, std::strerror(cause)));
  }
  const bool is_safe =
      S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 0777) == 0700;
  if (is_safe) return {};
  return fail(EPERM, fmt::format("{} is not a directory that only user {} can access, so it cannot "
                                 "hold state files: set XDG_RUNTIME_DIR to a directory of your own",
                                 directory, geteuid()));
}

}  // namespace sluice
