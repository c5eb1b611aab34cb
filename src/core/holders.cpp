#include "core/holders.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "core/block_devices.hpp"
#include "core/descriptor.hpp"
#include "core/kernel_files.hpp"
#include "core/mounts.hpp"
#include "core/openers.hpp"
#include "core/retry.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamedMost = 3;
constexpr std::chrono::milliseconds kInterval{20};
constexpr pid_t kCommonProcesses = 2;  // init and kthreadd

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::ranges::find(list, text) != list.end();
}

// All devices that share blocks with `device`, including itself.
std::vector<dev_t> family_of(dev_t device) {
  std::vector<dev_t> family = {device};
  const dev_t disk = disk_of(device);
  if (disk != device) {
    family.push_back(disk);
  } else {
    std::ranges::copy(partitions_of(disk), std::back_inserter(family));
  }
  return family;
}

void add_once(std::vector<std::string>& list, std::string text) {
  if (!contains(list, text)) list.push_back(std::move(text));
}

// Some file systems have a device number of their own; their mount source names the disk.
bool is_on(const Mount& mount, const std::vector<dev_t>& family) {
  return std::ranges::any_of(family, [&](dev_t device) {
    if (mount.device == device) return true;
    const std::string mapped = first_line(sysfs_of(device) + "/dm/name");
    return mount.source == "/dev/" + block_name(device) ||
           (!mapped.empty() && mount.source == "/dev/mapper/" + mapped);
  });
}

// A mount in the namespace of init or kthreadd is reported without a namespace, although for a
// server, which has a mount namespace of its own, that is another namespace.
void add_mounts(std::vector<std::string>& found, const std::vector<dev_t>& family) {
  for (const Mount& mount : read_mounts()) {
    if (is_on(mount, family)) add_once(found, "mounted at " + mount.point);
  }
  for (const pid_t process : processes_elsewhere()) {
    for (const Mount& mount : read_mounts(process)) {
      if (!is_on(mount, family) || contains(found, "mounted at " + mount.point)) continue;
      const bool is_common = process <= kCommonProcesses;
      add_once(found, is_common ? "mounted at " + mount.point
                                : fmt::format("mounted at {} in the mount namespace of process {}",
                                              mount.point, process));
    }
  }
}

// A file system may be in use even if it is no longer mounted anywhere.
void add_file_systems(std::vector<std::string>& found, const std::vector<dev_t>& family) {
  std::error_code error;
  for (const fs::directory_entry& type : fs::directory_iterator("/sys/fs", error)) {
    for (const dev_t device : family) {
      std::error_code missing;
      if (!fs::exists(type.path() / block_name(device), missing)) continue;
      add_once(found, fmt::format("a file system ({})", type.path().filename().string()));
    }
  }
}

void add_swap(std::vector<std::string>& found, const std::vector<dev_t>& family) {
  for (const SwapArea& area : swap_areas()) {
    const auto is_path = [&](dev_t device) { return area.path == "/dev/" + block_name(device); };
    if (std::ranges::any_of(family, is_path)) add_once(found, "swap");
  }
}

}  // namespace

std::string Holders::text() const {
  std::vector<std::string> all = found;
  std::ranges::copy(programs, std::back_inserter(all));
  if (all.size() <= kNamedMost) return fmt::format("{}", fmt::join(all, ", "));
  const size_t more = all.size() - kNamedMost;
  all.resize(kNamedMost);
  return fmt::format("{} and {} more", fmt::join(all, ", "), more);
}

Holders find_claims(dev_t device) {
  const std::vector<dev_t> family = family_of(device);
  Holders holders;
  add_mounts(holders.found, family);
  if (holders.found.empty()) add_file_systems(holders.found, family);
  add_swap(holders.found, family);
  for (const dev_t member : family) {
    for (const dev_t made : made_of(member)) add_once(holders.found, shown_device(made));
  }
  return holders;
}

Result<Holders> find_holders(dev_t device, std::span<const pid_t> ours) {
  Holders holders = find_claims(device);
  auto files = find_kernel_files({.mode = S_IFBLK, .number = device}, kernel_files());
  if (!files) return std::unexpected(files.error());
  for (KernelFile& file : files->found) add_once(holders.found, std::move(file.user));
  for (const KernelFile& file : files->unseen) {
    holders.unseen.push_back(fmt::format("what {} stands on", file.user));
  }
  auto openers = find_openers(family_of(device), ours);
  if (!openers) return std::unexpected(openers.error());
  holders.programs = std::move(openers->found);
  std::ranges::move(openers->unseen, std::back_inserter(holders.unseen));
  return holders;
}

bool is_claimed(const std::string& path) {
  const Descriptor exclusive(open(path.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  return !exclusive.valid() && errno == EBUSY;
}

Result<std::vector<std::string>> check_unheld(const UseCheck& check) {
  const Retry retry(check.timeout, kInterval);
  while (true) {
    auto holders = find_holders(check.device, check.ours);
    if (!holders) return std::unexpected(holders.error());
    if (holders->none() && !check.claimed) return std::move(holders->unseen);
    const bool may_pass = holders->found.empty() && !check.claimed;
    if (may_pass && retry.again()) continue;
    const std::string who =
        holders->none() ? "mounted, or part of another device" : holders->text();
    return fail(
        EBUSY,
        fmt::format("{} is in use ({}): release it first, or use --force and lose unwritten data",
                    check.path, who));
  }
}

}  // namespace sluice
