#include "daemon/state_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "daemon/leftovers.hpp"
#include "daemon/process_life.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kLockName = ".lock";
constexpr milliseconds kLongestPause{20};
constexpr milliseconds kBetweenLooks{250};  // between checks of the holder

std::unexpected<Error> cannot_lock(const StateDirectory& directory, const Error& why) {
  return fail(why.error, fmt::format("cannot lock the state directory {}: {}: {}",
                                     shown(directory.path()), kLockName, why.text));
}

// The previous holder has removed the file, or another process the directory.
bool is_still_named(const StateDirectory& directory, const Descriptor& file) {
  struct stat ours{};
  struct stat named{};
  return fstat(file.number(), &ours) == 0 &&
         fstatat(directory.descriptor(), kLockName, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

// The process that holds the lock, from /proc/locks; 0: unknown.
//   1: FLOCK  ADVISORY  WRITE 1234 00:15:678 0 EOF
int holder_of(const Descriptor& file) {
  struct stat status{};
  if (fstat(file.number(), &status) != 0) return 0;
  const std::string wanted =
      fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream fields(line);
    std::string number, type, advisory, access, place;
    int pid = 0;
    // The line of a waiter has an arrow before the type, so its fields do not match.
    if (!(fields >> number >> type >> advisory >> access >> pid >> place)) continue;
    if (type == "FLOCK" && place == wanted) return pid;
  }
  return 0;
}

// Waits for a single process at most for the timeout. A change of the holder restarts it.
class HolderWatch {
 public:
  explicit HolderWatch(milliseconds timeout)
      : timeout_(timeout), give_up_(Clock::now() + timeout) {}

  bool is_too_long(const Descriptor& file) {
    const Clock::time_point now = Clock::now();
    if (now < std::min(next_look_, give_up_)) return false;
    next_look_ = now + kBetweenLooks;
    if (const int holder = holder_of(file); holder != 0 && holder != holder_) {
      holder_ = holder;
      give_up_ = now + timeout_;
    }
    return now >= give_up_;
  }

  std::string holder() const {
    return holder_ == 0 ? "another process" : describe_process(holder_);
  }
  double seconds() const { return std::chrono::duration<double>(timeout_).count(); }

 private:
  const milliseconds timeout_;
  Clock::time_point give_up_;
  Clock::time_point next_look_;
  int holder_ = 0;  // 0: unknown
};

// nullopt: another process has the lock, or the file was removed meanwhile.
Result<std::optional<Descriptor>> try_to_lock(const StateDirectory& directory, HolderWatch& watch) {
  auto file = directory.open_file(kLockName);
  if (!file && file.error().error == ENOENT) return std::nullopt;  // the directory was removed
  if (!file) return cannot_lock(directory, file.error());
  if (flock(file->number(), LOCK_EX | LOCK_NB) == 0) {
    if (is_still_named(directory, *file)) return std::move(*file);
    return std::nullopt;
  }
  if (errno != EWOULDBLOCK && errno != EINTR) {
    return cannot_lock(directory, {errno, std::strerror(errno)});
  }
  if (!watch.is_too_long(*file)) return std::nullopt;
  return fail(ETIMEDOUT, fmt::format("the state directory {} has been locked by {} for {} "
                                     "seconds: see what it is doing, or end it",
                                     shown(directory.path()), watch.holder(), watch.seconds()));
}

}  // namespace

Result<StateLock> StateLock::take(milliseconds timeout) {
  HolderWatch watch(timeout);
  for (milliseconds pause{1};; pause = std::min(2 * pause, kLongestPause)) {
    auto directory = StateDirectory::make();
    if (!directory) return std::unexpected(directory.error());
    auto file = try_to_lock(*directory, watch);
    if (!file) return std::unexpected(file.error());
    if (*file) {
      clear_leftovers(*directory);
      return StateLock(std::move(*directory), std::move(**file));
    }
    std::this_thread::sleep_for(pause);
  }
}

// Processes that have opened the file already detect its removal, and make another.
StateLock::~StateLock() {
  if (file_.valid() && is_still_named(directory_, file_)) directory_.remove(kLockName);
}

}  // namespace sluice
