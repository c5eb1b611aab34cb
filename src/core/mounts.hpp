// The kernel's list of mounts. No file system is accessed, so a dead or hanging one does not block.
// Control path only.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct Mount {
  int id = 0;
  int parent = 0;
  dev_t device = 0;  // the file system's; usually that of its block device, if any
  std::string point;
  bool has_devices = true;  // false: device nodes on it cannot be opened
  std::string type;
  std::string source;
};

// The mounts in the namespace of this thread, or of a process. Empty without permission.
std::vector<Mount> read_mounts();
std::vector<Mount> read_mounts(pid_t process);

// The mount of an absolute path without symbolic links; null if unknown.
const Mount* mount_of(const std::vector<Mount>& mounts, std::string_view path);

// Decodes \NNN, the escapes for white space and backslashes in the kernel's lists of mounts and
// of swap areas.
std::string unescape_mount_text(const std::string& text);

// One process of each mount namespace except this thread's own.
std::vector<pid_t> processes_elsewhere();

}  // namespace sluice
