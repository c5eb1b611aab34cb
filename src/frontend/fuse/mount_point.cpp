#include "frontend/fuse/mount_point.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "frontend/fuse/fusermount.hpp"
#include "frontend/fuse/one_file.hpp"
#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

constexpr const char* kDevice = "/dev/fuse";

// The kernel writes blanks and the like in mountinfo as \NNN.
std::string unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size();
    plain.push_back(escape ? static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8))
                           : text[i]);
    if (escape) i += 3;
  }
  return plain;
}

struct Mounted {
  std::string device;  // MAJOR:MINOR
  std::string at;
};

// What this thread sees, the last one on top. Looks at no file system, so that a dead or a hanging
// one does no harm.
std::vector<Mounted> all_mounted() {
  std::ifstream mounts("/proc/thread-self/mountinfo");
  std::vector<Mounted> found;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id;
    std::string parent;
    std::string root;
    Mounted each;
    fields >> id >> parent >> each.device >> root >> each.at;
    each.at = unescape(each.at);
    found.push_back(std::move(each));
  }
  return found;
}

// Empty: nothing.
std::string mounted_device(const std::string& at) {
  const auto mounted = all_mounted();
  const auto found = std::ranges::find(mounted.rbegin(), mounted.rend(), at, &Mounted::at);
  return found == mounted.rend() ? std::string() : found->device;
}

// Only if it is still what it was made as, and nothing is mounted on it.
void remove_if_empty(const std::string& at) {
  struct stat status{};
  if (!mounted_device(at).empty() || lstat(at.c_str(), &status) != 0) return;
  if (S_ISREG(status.st_mode) && status.st_size == 0) unlink(at.c_str());
}

// What a mount answers whose server has died; ECONNABORTED while the kernel is taking it apart.
bool server_has_died(int error) { return error == ENOTCONN || error == ECONNABORTED; }

std::unexpected<Error> cannot_look_at(const std::string& at, int error) {
  if (server_has_died(error)) {
    return fail(error, fmt::format("{} is the mount point of a FUSE server that has died: unmount "
                                   "it first (umount {}, or fusermount3 -u)",
                                   shown(at), at));
  }
  return fail(error, fmt::format("cannot look at {}: {}", shown(at), std::strerror(error)));
}

// A mount option cannot hold a comma or a backslash: this one is only for display.
std::string common_options(const MountPoint::Wish& wish) {
  return fmt::format("default_permissions,max_read={}{}", wish.max_io_bytes,
                     wish.allow_other ? ",allow_other" : "");
}

}  // namespace

Result<MountPoint> MountPoint::mount(const Wish& wish) {
  MountPoint point;
  point.home_ = Viewpoint::here();
  if (auto prepared = point.prepare(wish.at); !prepared) return std::unexpected(prepared.error());
  point.record_.by_helper = geteuid() != 0;
  auto mounted = point.record_.by_helper ? point.mount_by_helper(wish) : point.mount_as_root(wish);
  if (!mounted) {
    point.remove_made_file();
    return std::unexpected(mounted.error());
  }
  point.record_.device = mounted_device(point.record_.at);
  return point;
}

Result<MountPoint> MountPoint::mount_detached(const Wish& wish) {
  MountPoint point;
  point.kind_ = S_IFREG;
  if (auto opened = point.open_device(); !opened) return std::unexpected(opened.error());
  const Descriptor context(fsopen("fuse", FSOPEN_CLOEXEC));
  const auto set = [&](const char* key, const std::string& value) {
    return fsconfig(context.number(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  const bool made = context.valid() && set("source", "sluice") && set("subtype", "sluice") &&
                    set("fd", std::to_string(point.device_.number())) &&
                    set("rootmode", fmt::format("{:o}", point.kind_)) &&
                    set("user_id", std::to_string(geteuid())) &&
                    set("group_id", std::to_string(getegid())) &&
                    set("max_read", std::to_string(wish.max_io_bytes)) &&
                    fsconfig(context.number(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  if (made) {
    const unsigned attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (wish.read_only ? MOUNT_ATTR_RDONLY : 0U);
    point.detached_ = Descriptor(fsmount(context.number(), FSMOUNT_CLOEXEC, attributes));
  }
  point.record_.detached = point.detached_.valid();
  if (point.detached()) return point;
  return fail(errno, fmt::format("cannot mount a FUSE file system: {}", std::strerror(errno)));
}

Result<MountPoint> MountPoint::adopt(Record record, Descriptor device, Viewpoint home) {
  MountPoint point;
  point.home_ = std::move(home);
  point.record_ = std::move(record);
  point.device_ = std::move(device);
  return point;
}

Result<void> MountPoint::prepare(const std::string& at) {
  struct stat status{};
  if (stat(at.c_str(), &status) != 0) {
    if (errno != ENOENT) return cannot_look_at(at, errno);
    if (auto made = make_file(at); !made) return made;
    if (stat(at.c_str(), &status) != 0) return cannot_look_at(at, errno);
  }
  kind_ = status.st_mode & S_IFMT;
  if (kind_ != S_IFREG && kind_ != S_IFDIR) {
    return fail(EINVAL, fmt::format("{} is neither a regular file nor a directory: give one of "
                                    "them, or a path that does not exist yet",
                                    shown(at)));
  }
  record_.directory = kind_ == S_IFDIR;
  std::error_code failed;
  record_.at = std::filesystem::canonical(at, failed);
  if (failed) return cannot_look_at(at, failed.value());
  if (!mounted_device(record_.at).empty()) {
    return fail(EBUSY,
                fmt::format("something is mounted on {} already: unmount that first, or give "
                            "another path",
                            shown(at)));
  }
  permissions_ = record_.directory ? 0600 : status.st_mode & 0777;
  owner_ = status.st_uid;
  group_ = status.st_gid;
  return {};
}

Result<void> MountPoint::make_file(const std::string& at) {
  const Descriptor file(open(at.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) {
    const char* const advice = errno == ENOENT ? ": make its directory first" : "";
    return fail(errno,
                fmt::format("cannot make {}: {}{}", shown(at), std::strerror(errno), advice));
  }
  record_.made = true;
  return {};
}

Result<void> MountPoint::open_device() {
  device_ = Descriptor(open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (device_.valid()) return {};
  const char* const advice =
      errno == ENOENT || errno == ENODEV ? ": load the driver with 'modprobe fuse'" : "";
  return fail(errno, fmt::format("cannot open {}: {}{}", kDevice, std::strerror(errno), advice));
}

Result<void> MountPoint::mount_as_root(const Wish& wish) {
  if (auto opened = open_device(); !opened) return opened;
  const std::string options =
      fmt::format("fd={},rootmode={:o},user_id={},group_id={},{}", device_.number(), kind_,
                  geteuid(), getegid(), common_options(wish));
  const unsigned long flags = MS_NOSUID | MS_NODEV | (wish.read_only ? MS_RDONLY : 0UL);
  if (::mount("sluice", record_.at.c_str(), "fuse.sluice", flags, options.c_str()) == 0) return {};
  return fail(errno, fmt::format("cannot mount on {}: {}", shown(wish.at), std::strerror(errno)));
}

Result<void> MountPoint::mount_by_helper(const Wish& wish) {
  if (access(kDevice, F_OK) != 0) {
    return fail(ENODEV, "there is no /dev/fuse: have 'modprobe fuse' run by root");
  }
  const std::string options = fmt::format("{},nosuid,nodev,fsname=sluice,subtype=sluice,{}",
                                          wish.read_only ? "ro" : "rw", common_options(wish));
  auto device = mount_by_fusermount(record_.at, options);
  if (!device) return std::unexpected(device.error());
  device_ = std::move(*device);
  fcntl(device_.number(), F_SETFL, fcntl(device_.number(), F_GETFL) | O_NONBLOCK);
  return {};
}

Result<Descriptor> MountPoint::open_detached(int flags) const {
  const std::string path = fmt::format("/proc/self/fd/{}", detached_.number());
  Descriptor file(open(path.c_str(), flags | O_CLOEXEC));
  if (file.valid()) return file;
  return fail(errno,
              fmt::format("cannot open the file that FUSE serves: {}", std::strerror(errno)));
}

std::string MountPoint::file_path() const {
  return record_.directory ? fmt::format("{}/{}", record_.at, OneFile::kName) : record_.at;
}

Result<void> MountPoint::unmount(bool lazily) {
  detached_ = Descriptor();
  if (record_.device.empty()) return {};
  Result<void> result;
  const auto went = home_.run([&] { result = unmount_here(lazily); });
  if (went) return result;
  return fail(went.error().error,
              fmt::format("cannot unmount {}: {}", shown(record_.at), went.error().text));
}

// Somebody may have renamed a directory above it. The device tells it from others only while the
// kernel has the file system: its number is given out again.
void MountPoint::follow() {
  pollfd file{.fd = device_.number(), .events = POLLIN, .revents = 0};
  if (!device_.valid() || poll(&file, 1, 0) < 0 || (file.revents & POLLERR) != 0) return;
  if (mounted_device(record_.at) == record_.device) return;
  for (Mounted& each : all_mounted()) {
    if (each.device == record_.device) record_.at = std::move(each.at);
  }
}

Result<void> MountPoint::unmount_here(bool lazily) {
  follow();
  if (mounted_device(record_.at) != record_.device) return {};
  const std::string& at = record_.at;
  if (record_.by_helper) return unmount_by_fusermount(at, lazily);
  if (umount2(at.c_str(), UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0) return {};
  return fail(errno, fmt::format("cannot unmount {}: {}", shown(at), std::strerror(errno)));
}

// Not from where this
// process is, which may have let go of the file system that it lies on.
void MountPoint::remove_made_file() const {
  if (!record_.made) return;
  [[maybe_unused]] const auto went = home_.run([&] { remove_if_empty(record_.at); });
}

bool is_dead_mount(const std::string& at) {
  struct stat status{};
  return stat(at.c_str(), &status) != 0 && server_has_died(errno);
}

Result<void> clear_dead_mount(const std::string& at, bool made) {
  if (is_dead_mount(at)) {
    Result<void> unmounted;
    if (geteuid() != 0) {
      unmounted = unmount_by_fusermount(at, /*lazily=*/true);
    } else if (umount2(at.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) != 0) {
      unmounted =
          fail(errno, fmt::format("cannot unmount {}: {}", shown(at), std::strerror(errno)));
    }
    if (!unmounted) return unmounted;
  }
  if (made) remove_if_empty(at);
  return {};
}

}  // namespace sluice::fuse
