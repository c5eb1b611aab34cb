#include "frontend/fuse/connection.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>

#include "frontend/fuse/mounts.hpp"

namespace sluice::fuse {
namespace {

constexpr const char* kUsualPlace = "/sys/fs/fuse/connections";

// Mounts it detached and private if permitted, since it may not be mounted on the system.
Descriptor open_control() {
  const Descriptor context(fsopen("fusectl", FSOPEN_CLOEXEC));
  if (context.valid() &&
      fsconfig(context.number(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    Descriptor mount(fsmount(context.number(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID));
    if (mount.valid()) return mount;
  }
  return Descriptor(::open(kUsualPlace, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

Connection Connection::open(const std::string& file_system) {
  const std::string number = number_of(file_system);
  const size_t colon = number.find(':');
  const Descriptor control = open_control();
  if (colon == std::string::npos || !control.valid()) return {};
  const std::string file = number.substr(colon + 1) + "/abort";
  return Connection(Descriptor(openat(control.number(), file.c_str(), O_WRONLY | O_CLOEXEC)));
}

void Connection::abort() const {
  if (can_abort()) [[maybe_unused]]
    const ssize_t written = write(abort_.number(), "1", 1);
}

}  // namespace sluice::fuse
