#include "core/viewpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

namespace sluice {
namespace {

constexpr const char* kNamespaceHere = "/proc/thread-self/ns/mnt";

Viewpoint look_from(const std::string& mount_namespace, const std::string& root) {
  Viewpoint found;
  found.mount_namespace = Descriptor(open(mount_namespace.c_str(), O_RDONLY | O_CLOEXEC));
  found.root = Descriptor(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return found.mount_namespace.valid() && found.root.valid() ? std::move(found) : Viewpoint();
}

bool is_same(int file, const char* path) {
  struct stat first{};
  struct stat second{};
  return fstat(file, &first) == 0 && stat(path, &second) == 0 && first.st_ino == second.st_ino &&
         first.st_dev == second.st_dev;
}

}  // namespace

Viewpoint Viewpoint::here() { return look_from(kNamespaceHere, "/"); }

Viewpoint Viewpoint::of(pid_t process) {
  return look_from(fmt::format("/proc/{}/ns/mnt", process), fmt::format("/proc/{}/root", process));
}

Result<void> Viewpoint::run(const std::function<void()>& action) const {
  if (!is_elsewhere()) {
    action();
    return {};
  }
  Result<void> went;
  std::thread traveller([&] {
    if (go()) {
      action();
    } else {
      went = fail(errno,
                  fmt::format("cannot go to another mount namespace: {}", std::strerror(errno)));
    }
  });
  traveller.join();
  return went;
}

bool Viewpoint::is_elsewhere() const {
  if (!mount_namespace.valid()) return false;
  return !is_same(mount_namespace.number(), kNamespaceHere) || !is_same(root.number(), "/");
}

// setns() leaves a chroot, and with it what paths mean.
bool Viewpoint::go() const {
  return unshare(CLONE_FS) == 0 && setns(mount_namespace.number(), CLONE_NEWNS) == 0 &&
         fchdir(root.number()) == 0 && chroot(".") == 0;
}

}  // namespace sluice
