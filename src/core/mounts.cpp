#include "core/mounts.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace sluice {
namespace {

namespace fs = std::filesystem;

Mount parse(const std::string& line) {
  std::istringstream fields(line);
  std::string device;
  std::string root;
  std::string options;
  Mount mount;
  fields >> mount.id >> mount.parent >> device >> root >> mount.point >> options;
  unsigned major = 0;
  unsigned minor = 0;
  std::sscanf(device.c_str(), "%u:%u", &major, &minor);
  mount.device = makedev(major, minor);
  mount.point = unescape_mount_text(mount.point);
  mount.has_devices = !fmt::format(",{},", options).contains(",nodev,");
  for (std::string optional; fields >> optional && optional != "-";) continue;
  fields >> mount.type >> mount.source;
  mount.source = unescape_mount_text(mount.source);
  return mount;
}

std::vector<Mount> read_mounts_in(const std::string& process) {
  std::ifstream file(fmt::format("/proc/{}/mountinfo", process));
  std::vector<Mount> mounts;
  for (std::string line; std::getline(file, line);) mounts.push_back(parse(line));
  return mounts;
}

bool leads_to(std::string_view point, std::string_view path) {
  if (point == "/") return true;
  return path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
}

// The first mount below `parent` on the way to `path`.
const Mount* next_on_the_way(const std::vector<Mount>& mounts, const Mount& parent,
                             std::string_view path) {
  const Mount* next = nullptr;
  for (const Mount& mount : mounts) {
    if (mount.parent != parent.id || mount.id == parent.id) continue;
    if (!leads_to(mount.point, path)) continue;
    if (next == nullptr || mount.point.size() < next->point.size()) next = &mount;
  }
  return next;
}

}  // namespace

std::vector<Mount> read_mounts() { return read_mounts_in("thread-self"); }

std::vector<Mount> read_mounts(pid_t process) { return read_mounts_in(std::to_string(process)); }

std::string unescape_mount_text(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size();
    plain.push_back(escape ? static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8))
                           : text[i]);
    if (escape) i += 3;
  }
  return plain;
}

const Mount* mount_of(const std::vector<Mount>& mounts, std::string_view path) {
  const auto is_root = [&](const Mount& mount) {
    return mount.point == "/" &&
           std::ranges::find(mounts, mount.parent, &Mount::id) == mounts.end();
  };
  const auto root = std::ranges::find_if(mounts, is_root);
  if (root == mounts.end()) return nullptr;
  const Mount* found = &*root;
  while (const Mount* const next = next_on_the_way(mounts, *found, path)) found = next;
  return found;
}

std::vector<pid_t> processes_elsewhere() {
  std::error_code error;
  std::set<fs::path> seen = {fs::read_symlink("/proc/thread-self/ns/mnt", error)};
  std::vector<pid_t> found;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (wrong != std::errc() || end != name.data() + name.size()) continue;
    std::error_code hidden;
    const fs::path space = fs::read_symlink(entry.path() / "ns/mnt", hidden);
    if (!hidden && seen.insert(space).second) found.push_back(pid);
  }
  return found;
}

}  // namespace sluice
