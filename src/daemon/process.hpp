// Prepares the process of a device's server before it takes requests.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice {

// From here on a crash ends the process like SIGKILL, at once and without a core file, which might
// go to the device that waits for the process to end. Not used with --debug_mask.
void end_at_once_when_crashed();

// Enters a new mount namespace, in which later mounts do not appear: otherwise the dying server
// might unmount the last reference to a file system on its own device. Before the device goes live,
// and before the process has threads.
void leave_mount_namespace();
// Unmounts everything that the server does not need, so that it keeps no file system busy: all but
// system directories and the file system of the directory `kept`. After the backing files are open;
// may take a while.
void drop_mounts(const std::string& kept);

// Moves into the control group of process `pid`, if permitted, so that a new server has the service
// and limits of the old server, no matter which process started it.
void join_cgroup_of(int pid);

// The announcement of a server once its device can be opened.
struct Announcement {
  uint32_t id = 0;
  std::vector<std::string> notes;  // for the user, about how the backing was opened
};
// Returns whether the caller received it: a server whose caller has gone must not serve.
using Ready = std::function<bool(const Announcement&)>;

// Runs `serve` in a new process without a terminal and returns its announcement, or its Error
// before that. `serve` continues after the announcement; the new process ends with it. The process
// keeps the caller's descriptors `kept`.
Result<Announcement> run_in_background(const std::function<Result<void>(const Ready&)>& serve,
                                       std::span<const int> kept = {});

}  // namespace sluice
