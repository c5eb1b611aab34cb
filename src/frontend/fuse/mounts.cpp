#include "frontend/fuse/mounts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "core/descriptor.hpp"
#include "core/mount_namespace.hpp"
#include "core/mounts.hpp"
#include "frontend/fuse/fusermount.hpp"
#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

namespace fs = std::filesystem;

std::string name_of(const Mount& mount) {
  return fmt::format("{}:{} {}", major(mount.device), minor(mount.device), mount.source);
}

// With an empty mask the kernel answers by itself, and for all users.
std::string number_at(int descriptor) {
  struct statx found{};
  if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &found) != 0) return {};
  return fmt::format("{}:{}", found.stx_dev_major, found.stx_dev_minor);
}

// Unmounts in this thread's namespace; changes its current directory. Works from the parent
// directory, so that nobody can redirect the path meanwhile.
Result<void> unmount_at(const std::string& at, const std::string& file_system, bool lazily) {
  const auto failed = [&] {
    return fail(errno, fmt::format("cannot unmount {}: {}", shown(at), std::strerror(errno)));
  };
  const fs::path path(at);
  const Descriptor directory(open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || fchdir(directory.number()) != 0) return failed();
  const std::string name = path.filename();
  // Again if somebody else unmounts it at the same time.
  for (int tries = 0; tries < 2; ++tries) {
    {
      const Descriptor mount(open(name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!mount.valid()) return failed();
      if (number_at(mount.number()) != number_of(file_system)) return {};
    }
    if (umount2(name.c_str(), UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0) return {};
    if (errno != EINVAL) break;
  }
  return failed();
}

// Its path for a process: the topmost mount, if there are several.
std::optional<std::string> seen_at(pid_t process, const std::string& file_system) {
  const std::vector<Mount> mounts = read_mounts(process);
  const auto found = std::ranges::find_if(mounts.rbegin(), mounts.rend(), [&](const Mount& each) {
    return each.type == kMountType && name_of(each) == file_system;
  });
  if (found == mounts.rend()) return std::nullopt;
  return found->point;
}

}  // namespace

std::optional<Mounted> mounted_at(const std::string& at) {
  const std::vector<Mount> mounts = read_mounts();
  const auto found = std::ranges::find(mounts.rbegin(), mounts.rend(), at, &Mount::point);
  if (found == mounts.rend()) return std::nullopt;
  return Mounted{.file_system = name_of(*found), .type = found->type};
}

std::string new_source() {
  std::random_device random;
  return fmt::format("sluice:{:08x}", random());
}

std::string name_file_system(int descriptor, const std::string& source) {
  return number_at(descriptor) + ' ' + source;
}

std::string number_of(const std::string& file_system) {
  return file_system.substr(0, file_system.find(' '));
}

std::vector<Sighting> sightings(const std::string& file_system) {
  std::vector<pid_t> processes = processes_elsewhere();
  processes.insert(processes.begin(), getpid());
  std::vector<Sighting> found;
  for (const pid_t process : processes) {
    if (auto at = seen_at(process, file_system)) {
      found.push_back({.process = process, .at = std::move(*at)});
    }
  }
  return found;
}

Result<void> unmount(const std::string& file_system, bool by_helper, bool lazily) {
  for (const Sighting& each : sightings(file_system)) {
    Result<void> unmounted;
    if (by_helper && geteuid() != 0) {
      unmounted = unmount_by_fusermount(each.at, lazily);
      if (!unmounted) return unmounted;
      continue;
    }
    const auto view = MountNamespace::of(each.process);
    if (!view && view.error().error == ENOENT) continue;  // it has ended, and its namespace too
    const auto went = view
                          ? view->run([&] { unmounted = unmount_at(each.at, file_system, lazily); })
                          : Result<void>(std::unexpected(view.error()));
    if (!went) return went;
    // A starting server has its caller's mounts for a moment, and drops them itself.
    if (!unmounted && seen_at(each.process, file_system)) return unmounted;
  }
  return {};
}

}  // namespace sluice::fuse
