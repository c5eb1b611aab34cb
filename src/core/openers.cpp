#include "core/openers.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "core/block_devices.hpp"
#include "core/bounded_look.hpp"

namespace sluice {
namespace {

template <typename T>
bool contains(std::span<const T> list, T wanted) {
  return std::ranges::find(list, wanted) != list.end();
}

std::optional<pid_t> to_number(std::string_view text) {
  pid_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The numeric names in a directory.
std::vector<pid_t> numbers_in(const std::string& path) {
  std::vector<pid_t> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (!directory) return numbers;
  while (const dirent* const entry = readdir(directory.get())) {
    if (const auto number = to_number(entry->d_name)) numbers.push_back(*number);
  }
  return numbers;
}

// Inspects one process after the other; lives in the helper process.
class Scan {
 public:
  explicit Scan(std::span<const dev_t> devices) : devices_(devices) {
    for (const dev_t device : devices) names_.push_back("/dev/" + block_name(device));
  }

  bool has(pid_t process) { return has_open(process) || has_mapped(process); }

 private:
  bool has_open(pid_t process) const;
  bool has_in_table(const std::string& task) const;
  bool has_in_ring(const std::string& task, const std::string& file) const;
  bool has_mapped(pid_t process);
  bool is_it(const std::string& path) const;
  bool is_named(std::string_view path) const;

  const std::span<const dev_t> devices_;
  std::vector<std::string> names_;
  std::map<std::pair<std::string, uint64_t>, bool> mapped_;  // a cache, by device and inode
};

// A thread may have a table of open files of its own, and the first thread may have ended.
bool Scan::has_open(pid_t process) const {
  const std::string tasks = fmt::format("/proc/{}/task", process);
  for (const pid_t task : numbers_in(tasks)) {
    const bool shares = task != process && syscall(SYS_kcmp, process, task, KCMP_FILES, 0, 0) == 0;
    if (!shares && has_in_table(fmt::format("{}/{}", tasks, task))) return true;
  }
  return false;
}

bool Scan::has_in_table(const std::string& task) const {
  for (const pid_t number : numbers_in(task + "/fd")) {
    const std::string file = std::to_string(number);
    struct statx found{};
    const std::string path = fmt::format("{}/fd/{}", task, file);
    if (statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &found) !=
        0) {
      continue;
    }
    const dev_t device = makedev(found.stx_rdev_major, found.stx_rdev_minor);
    if (S_ISBLK(found.stx_mode) && contains(devices_, device)) return true;
    const bool has_no_type = (found.stx_mode & S_IFMT) == 0;
    if (has_no_type && has_in_ring(task, file)) return true;
  }
  return false;
}

// Registered files of a ring have no descriptors. The kernel shows only their names.
bool Scan::has_in_ring(const std::string& task, const std::string& file) const {
  std::array<char, 64> target{};
  const std::string link = fmt::format("{}/fd/{}", task, file);
  const ssize_t length = readlink(link.c_str(), target.data(), target.size());
  if (length < 0 ||
      std::string_view(target.data(), static_cast<size_t>(length)) != "anon_inode:[io_uring]") {
    return false;
  }
  std::ifstream info(fmt::format("{}/fdinfo/{}", task, file));
  bool are_files = false;
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with(' ')) are_files = line.starts_with("UserFiles:");
    const size_t name = line.find(": ");
    if (are_files && name != std::string::npos && is_named(line.substr(name + 2))) return true;
  }
  return false;
}

// A file stays mapped after its descriptor was closed.
bool Scan::has_mapped(pid_t process) {
  std::ifstream maps(fmt::format("/proc/{}/maps", process));
  for (std::string line; std::getline(maps, line);) {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t inode = 0;
    std::array<char, 32> device{};
    int path = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*x %31s %lu %n", &begin, &end, device.data(),
                    &inode, &path) < 4 ||
        inode == 0) {
      continue;
    }
    const auto [known, is_new] = mapped_.try_emplace({device.data(), inode}, false);
    if (is_new) {
      known->second = is_it(fmt::format("/proc/{}/map_files/{:x}-{:x}", process, begin, end)) ||
                      is_named(std::string_view(line).substr(static_cast<size_t>(path)));
    }
    if (known->second) return true;
  }
  return false;
}

bool Scan::is_it(const std::string& path) const {
  struct statx found{};
  return statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &found) ==
             0 &&
         S_ISBLK(found.stx_mode) &&
         contains(devices_, makedev(found.stx_rdev_major, found.stx_rdev_minor));
}

// Older kernels show only the last component.
bool Scan::is_named(std::string_view path) const {
  return std::ranges::any_of(names_, [&](const std::string& name) {
    return path == name || path == std::string_view(name).substr(name.rfind('/') + 1);
  });
}

std::string describe(pid_t process) {
  return fmt::format("process {} ({})", process, first_line(fmt::format("/proc/{}/comm", process)));
}

}  // namespace

Result<Openers> find_openers(std::span<const dev_t> devices, std::span<const pid_t> ours) {
  std::vector<pid_t> processes = numbers_in("/proc");
  std::erase_if(processes,
                [&](pid_t process) { return process == getpid() || contains(ours, process); });
  Scan scan(devices);
  const auto looks = look_bounded(processes.size(), [&](size_t i) {
    return std::string(scan.has(processes[i]) ? "has it" : "");
  });
  if (!looks) return std::unexpected(looks.error());
  Openers openers;
  for (size_t i = 0; i < processes.size(); ++i) {
    const std::optional<std::string>& answer = (*looks)[i];
    if (answer && answer->empty()) continue;
    (answer ? openers.found : openers.unseen).push_back(describe(processes[i]));
  }
  return openers;
}

}  // namespace sluice
