#include "core/block_devices.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace sluice {
namespace {

namespace fs = std::filesystem;

// "8:1", the content of a device's file `dev`. 0: no such file.
dev_t number_in(const fs::path& directory) {
  unsigned major = 0;
  unsigned minor = 0;
  const std::string text = first_line(directory / "dev");
  return std::sscanf(text.c_str(), "%u:%u", &major, &minor) == 2 ? makedev(major, minor) : 0;
}

std::vector<dev_t> devices_in(const fs::path& directory) {
  std::vector<dev_t> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (const dev_t device = number_in(entry.path()); device != 0) found.push_back(device);
  }
  std::ranges::sort(found);
  return found;
}

bool is_partition(dev_t device) {
  std::error_code error;
  return fs::exists(sysfs_of(device) + "/partition", error);
}

}  // namespace

std::string sysfs_of(dev_t device) {
  return fmt::format("/sys/dev/block/{}:{}", major(device), minor(device));
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// sysfs replaces slashes in names by exclamation marks.
std::string block_name(dev_t device) {
  std::error_code error;
  std::string name = fs::read_symlink(sysfs_of(device), error).filename();
  std::ranges::replace(name, '!', '/');
  return name;
}

std::string shown_device(dev_t device) {
  const std::string name = block_name(device);
  if (name.empty()) return fmt::format("block device {}:{}", major(device), minor(device));
  const std::string mapped = first_line(sysfs_of(device) + "/dm/name");
  return mapped.empty() ? fmt::format("/dev/{}", name) : fmt::format("/dev/{} ({})", name, mapped);
}

dev_t disk_of(dev_t device) {
  if (!is_partition(device)) return device;
  const dev_t disk = number_in(sysfs_of(device) + "/..");
  return disk == 0 ? device : disk;
}

std::vector<dev_t> partitions_of(dev_t disk) {
  std::vector<dev_t> found = devices_in(sysfs_of(disk));
  std::erase_if(found, [](dev_t device) { return !is_partition(device); });
  return found;
}

bool share_blocks(dev_t one, dev_t other) {
  return one == other || disk_of(one) == other || disk_of(other) == one;
}

std::vector<dev_t> made_of(dev_t device) { return devices_in(sysfs_of(device) + "/holders"); }

std::vector<dev_t> made_from(dev_t device) { return devices_in(sysfs_of(device) + "/slaves"); }

}  // namespace sluice
