#include "frontend/fuse/mount_point.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/step.hpp"
#include "frontend/fuse/connection.hpp"
#include "frontend/fuse/fusermount.hpp"
#include "frontend/fuse/mounts.hpp"
#include "frontend/fuse/one_file.hpp"

namespace sluice::fuse {
namespace {

constexpr const char* kDevice = "/dev/fuse";

std::string root_mode(const std::optional<Place>& place) {
  return fmt::format("{:o}", place && place->is_directory() ? S_IFDIR : S_IFREG);
}

}  // namespace

Result<MountPoint> MountPoint::make(Options options) {
  MountPoint point;
  point.place_ = std::move(options.place);
  if (point.place_) {
    if (auto made = point.place_->make(); !made) return std::unexpected(made.error());
    step("place made");
  }
  point.by_helper_ = geteuid() != 0;
  auto made = point.by_helper_ ? point.mount_by_helper(options) : point.make_as_root(options);
  step("file system made");
  if (made) return point;
  if (point.place_) point.place_->remove();
  return std::unexpected(made.error());
}

MountPoint MountPoint::adopt(std::string file_system, std::optional<Place> place, bool by_helper) {
  MountPoint point;
  point.file_system_ = std::move(file_system);
  point.place_ = std::move(place);
  point.by_helper_ = by_helper;
  return point;
}

Result<void> MountPoint::make_as_root(const Options& options) {
  if (auto opened = open_fuse_device(); !opened) return opened;
  const std::string source = new_source();
  const Descriptor context(fsopen("fuse", FSOPEN_CLOEXEC));
  const auto set = [&](const char* key, const std::string& value) {
    return fsconfig(context.number(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  const auto set_flag = [&](const char* key) {
    return fsconfig(context.number(), FSCONFIG_SET_FLAG, key, nullptr, 0) == 0;
  };
  const bool made =
      context.valid() && set("source", source) && set("subtype", "sluice") &&
      set("fd", std::to_string(fuse_device_.number())) && set("rootmode", root_mode(place_)) &&
      set("user_id", std::to_string(geteuid())) && set("group_id", std::to_string(getegid())) &&
      set("max_read", std::to_string(options.max_io_bytes)) && set_flag("default_permissions") &&
      (!options.allow_other || set_flag("allow_other")) &&
      fsconfig(context.number(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  if (made) {
    const unsigned attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (options.read_only ? MOUNT_ATTR_RDONLY : 0U);
    mount_ = Descriptor(fsmount(context.number(), FSMOUNT_CLOEXEC, attributes));
  }
  if (!mount_.valid()) {
    return fail(errno, fmt::format("cannot make a FUSE file system: {}", std::strerror(errno)));
  }
  file_system_ = name_file_system(mount_.number(), source);
  return {};
}

Result<void> MountPoint::open_fuse_device() {
  fuse_device_ = Descriptor(open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (fuse_device_.valid()) return {};
  const char* const advice =
      errno == ENOENT || errno == ENODEV ? ": load the driver with 'modprobe fuse'" : "";
  return fail(errno, fmt::format("cannot open {}: {}{}", kDevice, std::strerror(errno), advice));
}

// A mount option cannot hold a comma or a backslash.
Result<void> MountPoint::mount_by_helper(const Options& options) {
  if (!place_) return fail(EPERM, "a detached mount needs root");
  if (access(kDevice, F_OK) != 0) {
    return fail(ENODEV, "there is no /dev/fuse: have 'modprobe fuse' run by root");
  }
  const std::string mount_options =
      fmt::format("{},nosuid,nodev,fsname={},subtype=sluice,default_permissions,max_read={}{}",
                  options.read_only ? "ro" : "rw", new_source(), options.max_io_bytes,
                  options.allow_other ? ",allow_other" : "");
  const std::string at = place_->path();
  auto device = mount_by_fusermount(at, mount_options);
  if (!device) return std::unexpected(device.error());
  fuse_device_ = std::move(*device);
  fcntl(fuse_device_.number(), F_SETFL, fcntl(fuse_device_.number(), F_GETFL) | O_NONBLOCK);
  if (const auto mounted = mounted_at(at)) file_system_ = mounted->file_system;
  return {};
}

std::string MountPoint::file_path() const {
  if (!place_) return {};
  const std::string at = place_->path();
  return place_->is_directory() ? fmt::format("{}/{}", at, OneFile::kName) : at;
}

bool is_left_mounted(const std::string& file_system) { return !sightings(file_system).empty(); }

Result<void> clear_remains(const Remains& remains) {
  const auto seen = sightings(remains.file_system);
  if (!seen.empty()) Connection::open(remains.file_system).abort();
  if (auto unmounted = unmount(remains.file_system, remains.by_helper, /*lazily=*/true);
      !unmounted) {
    return unmounted;
  }
  if (!remains.made) return {};
  const std::filesystem::path at(seen.empty() ? remains.at : seen.front().at);
  Descriptor directory(open(at.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return {};
  Place::adopt(std::move(directory), at, false, remains.made, remains.inode).remove();
  return {};
}

}  // namespace sluice::fuse
