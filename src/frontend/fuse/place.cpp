#include "frontend/fuse/place.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "frontend/fuse/mounts.hpp"
#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

namespace fs = std::filesystem;

std::string path_of(int descriptor) {
  std::error_code error;
  return fs::read_symlink(fmt::format("/proc/self/fd/{}", descriptor), error);
}

std::unexpected<Error> cannot_look_at(const std::string& at, int error) {
  return fail(error, fmt::format("cannot access {}: {}", shown(at), std::strerror(error)));
}

std::unexpected<Error> is_mounted_on(const std::string& at) {
  return fail(EBUSY, fmt::format("something is already mounted on {}: unmount that first ('sluice "
                                 "list' shows the mounts of sluice), or give another path",
                                 shown(at)));
}

// Sends no request to the server of a file system mounted there.
std::optional<struct statx> status_of(int directory, const char* name, int flags) {
  struct statx found{};
  if (statx(directory, name, flags | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &found) != 0) {
    return std::nullopt;
  }
  return found;
}

}  // namespace

Result<Place> Place::open(const std::string& at) {
  Place place;
  place.target_ = Descriptor(::open(at.c_str(), O_PATH | O_CLOEXEC));
  if (!place.target_.valid() && errno != ENOENT) return cannot_look_at(at, errno);
  place.made_ = !place.target_.valid();
  const fs::path path(place.made_ ? at : path_of(place.target_.number()));
  place.path_ = path;
  place.name_ = path.filename();
  const fs::path directory = path.parent_path();
  place.directory_ = Descriptor(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.directory_.valid()) {
    const char* const advice = errno == ENOENT ? ": make its directory first" : "";
    return fail(errno,
                fmt::format("cannot make {}: {}{}", shown(at), std::strerror(errno), advice));
  }
  if (!place.made_) {
    if (auto looked = place.look_at_target(at); !looked) return std::unexpected(looked.error());
    return place;
  }
  if (place.name_.empty() || place.name_ == "." || place.name_ == "..") {
    return fail(EINVAL, fmt::format("{} is not a file name: give one", shown(at)));
  }
  if (status_of(place.directory_.number(), place.name_.c_str(), AT_SYMLINK_NOFOLLOW)) {
    return fail(
        ENOENT,
        fmt::format("{} is a dangling symbolic link: remove it, or give the path of its target",
                    shown(at)));
  }
  return place;
}

Place Place::adopt(Descriptor directory, std::string path, bool is_directory, bool made,
                   uint64_t inode) {
  Place place;
  place.kind_ = is_directory ? S_IFDIR : S_IFREG;
  place.directory_ = std::move(directory);
  place.name_ = fs::path(path).filename();
  place.path_ = std::move(path);
  place.made_ = made;
  place.inode_ = inode;
  return place;
}

Result<void> Place::look_at_target(const std::string& at) {
  if (name_.empty()) {
    return fail(EINVAL, fmt::format("{} cannot be mounted over: give another path", shown(at)));
  }
  if (mounted_at(path_of(target_.number()))) return is_mounted_on(at);
  const auto status = status_of(target_.number(), "", AT_EMPTY_PATH);
  if (!status) return cannot_look_at(at, errno);
  kind_ = status->stx_mode;
  owner_ = status->stx_uid;
  group_ = status->stx_gid;
  if (S_ISREG(kind_) || S_ISDIR(kind_)) return {};
  return fail(EINVAL, fmt::format("{} is neither a regular file nor a directory: give one of "
                                  "them, or a path that does not exist yet",
                                  shown(at)));
}

Result<void> Place::make() {
  if (!made_ || target_.valid()) return {};
  const Descriptor file(openat(directory_.number(), name_.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) {
    return fail(errno, fmt::format("cannot make {}: {}", shown(path()), std::strerror(errno)));
  }
  fchmod(file.number(), 0600);
  const auto status = status_of(file.number(), "", AT_EMPTY_PATH);
  if (!status) return cannot_look_at(path(), errno);
  kind_ = status->stx_mode;
  owner_ = status->stx_uid;
  group_ = status->stx_gid;
  inode_ = status->stx_ino;
  target_ = Descriptor(
      ::open(fmt::format("/proc/self/fd/{}", file.number()).c_str(), O_PATH | O_CLOEXEC));
  if (target_.valid()) return {};
  const int cause = errno;
  remove();
  return cannot_look_at(path(), cause);
}

// A server killed before it recorded the inode leaves an empty file as well.
void Place::remove() const {
  if (!made_) return;
  const auto status = status_of(directory_.number(), name_.c_str(), AT_SYMLINK_NOFOLLOW);
  if (!status || !S_ISREG(status->stx_mode) || status->stx_size != 0) return;
  if (inode_ != 0 && status->stx_ino != inode_) return;
  unlinkat(directory_.number(), name_.c_str(), 0);
}

}  // namespace sluice::fuse
