// What a device's server does to its own process before it takes requests.
#pragma once

#include <spdlog/sinks/ringbuffer_sink.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/viewpoint.hpp"

namespace sluice {

// So that memory reclaim never waits for a server that itself waits for memory: I/O flusher state,
// locked memory, no out-of-memory kill. Each where the process may; what it may not is logged.
void protect_process();

// A mount namespace of its own, in which mounts made later do not appear: a file system on the
// server's own device must not be the last thing the dying server unmounts. Before the device goes
// live, and before the process has threads.
void leave_mount_namespace();
// From where the process looked at files before that, and where paths of its caller are meant.
const Viewpoint& home();
// Lets go of the mounts that the server does not need, so that it keeps nobody's file system busy:
// all but system directories and what holds the directory `kept`. After the backing files are open;
// it may take a while.
void drop_mounts(const std::string& kept);

// Moves into the control group of process `pid`: a server that takes over is where the old one was,
// in its service and under its limits, whoever started it. Where the process may.
void join_cgroup_of(int pid);

// What a server says once its device can be opened.
struct Announcement {
  uint32_t id = 0;
  std::vector<std::string> notes;  // what the user should know of how the backing was opened
};
// Returns whether anybody heard it: a server whose caller has gone must not serve unannounced.
using Ready = std::function<bool(const Announcement&)>;

// Runs `serve` in a new process without a terminal and returns what it announced, or the Error that
// it returned before that. `serve` goes on after the announcement. The new process ends with
// `serve`.
Result<Announcement> run_in_background(const std::function<Result<void>(const Ready&)>& serve);

// Keeps what is logged while it lives, instead of writing it: for the time before a server knows
// where its log is.
class LogKeeper {
 public:
  LogKeeper();
  // In the order in which they were logged.
  std::vector<std::string> lines() const;

 private:
  std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> sink_;
};

// Logs to the standard error in the foreground, otherwise to the system log, or to `path` where
// there is none.
void start_logging(bool foreground, const std::string& path, uint32_t debug_mask);

}  // namespace sluice
