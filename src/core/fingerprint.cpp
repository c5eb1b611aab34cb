#include "core/fingerprint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/block_devices.hpp"

namespace sluice {
namespace {

// Drives may report arbitrary bytes.
std::string plain_line(const std::string& path) {
  std::string line = first_line(path);
  std::ranges::replace_if(line, [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

// The disk's unique name, if it has one.
std::string own_name(const std::string& sysfs) {
  for (const char* const attribute : {"wwid", "device/wwid", "dm/uuid", "md/uuid", "device/cid"}) {
    const std::string name = plain_line(fmt::format("{}/{}", sysfs, attribute));
    if (!name.empty()) return name;
  }
  return {};
}

// Serial numbers are not always unique: the device number is added.
std::string describe_disk(dev_t disk) {
  const std::string sysfs = sysfs_of(disk);
  if (const std::string name = own_name(sysfs); !name.empty()) return fmt::format("disk {}", name);
  const std::string number = fmt::format("disk {}:{}", major(disk), minor(disk));
  for (const char* const attribute : {"serial", "device/serial"}) {
    const std::string serial = plain_line(fmt::format("{}/{}", sysfs, attribute));
    if (!serial.empty()) return fmt::format("{} serial {}", number, serial);
  }
  const std::string sequence = first_line(sysfs + "/diskseq");  // Linux 5.15
  return sequence.empty() ? number : fmt::format("{} sequence {}", number, sequence);
}

std::string describe_device(dev_t device) {
  const dev_t disk = disk_of(device);
  if (disk == device) return describe_disk(disk);
  return fmt::format("{} from sector {}", describe_disk(disk),
                     first_line(sysfs_of(device) + "/start"));
}

}  // namespace

Result<Fingerprint> Fingerprint::of(int descriptor, std::string path) {
  struct statx found{};
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, &found) != 0) {
    return fail(errno, fmt::format("cannot identify {}: {}", path, std::strerror(errno)));
  }
  Fingerprint fingerprint{.path = std::move(path)};
  if (S_ISBLK(found.stx_mode)) {
    fingerprint.is = describe_device(makedev(found.stx_rdev_major, found.stx_rdev_minor));
    return fingerprint;
  }
  fingerprint.is =
      fmt::format("file {}:{} inode {}", found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
  if ((found.stx_mask & STATX_BTIME) != 0) {
    fingerprint.born_ns = found.stx_btime.tv_sec * 1'000'000'000 + found.stx_btime.tv_nsec;
  }
  return fingerprint;
}

bool Fingerprint::is_same_as(const Fingerprint& other) const {
  const bool born_together = born_ns == 0 || other.born_ns == 0 || born_ns == other.born_ns;
  return is == other.is && born_together;
}

}  // namespace sluice
