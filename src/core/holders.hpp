// The users of a block device: mounts, swap, devices made of it, loop devices on it, and programs
// that have it open or mapped, through any node and in any mount namespace.
//
// Only users that this process may inspect are found; root finds all. Nothing blocks on a file
// system or process that hangs. Control path only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice {

struct Holders {
  std::vector<std::string> found;  // "mounted at /mnt", "swap", "/dev/dm-0 (vg-home)", "/dev/loop7"
  std::vector<std::string> programs;  // "process 312 (dd)"
  std::vector<std::string> unseen;    // "process 7 (ls)": could not be inspected in time

  bool none() const { return found.empty() && programs.empty(); }
  // The first few of them: "mounted at /mnt, process 312 (dd) and 2 more".
  std::string text() const;
};

// Users of the device and of its partitions, or of the disk that it is a partition of, except the
// processes `ours`. Error: no helper process could be started.
Result<Holders> find_holders(dev_t device, std::span<const pid_t> ours);

// Only the exclusive users: no loop devices and programs. Needs no helper process.
Holders find_claims(dev_t device);

// True if a file system, swap, a mapping or a program has claimed the device exclusively. Opens the
// device, which blocks if the device hangs.
bool is_claimed(const std::string& path);

// Fails with EBUSY and the users of the device; otherwise returns the processes that could not be
// inspected. `claimed`: the result of is_claimed(). Programs that close the device within the
// timeout do not count: udev opens each device that appears or changes.
struct UseCheck {
  std::string path;
  dev_t device = 0;
  bool claimed = false;
  std::span<const pid_t> ours = {};
  std::chrono::milliseconds timeout{500};
};
Result<std::vector<std::string>> check_unheld(const UseCheck& check);

}  // namespace sluice
