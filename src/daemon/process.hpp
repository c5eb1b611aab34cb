// What a device's server does to its own process before it takes requests.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/error.hpp"

namespace sluice {

// So that memory reclaim never waits for a server that itself waits for memory: I/O flusher state,
// locked memory, no out-of-memory kill. Each where the process may; what it may not is logged.
void protect_process();

// A mount namespace of its own, without the mounts it does not need: a file system on the server's own
// device must not be pinned, nor be the last thing the dying server unmounts. Call it after the
// backing files are open. What holds the directory `kept` stays.
void leave_mount_namespace(const std::string& kept);

// Runs `serve` in a new process without a terminal and returns what it reported: the text given to
// its argument `ready`, or the Error that `serve` returned before that. `serve` goes on after ready.
// The new process ends with `serve`.
using Ready = std::function<void(const std::string&)>;
Result<std::string> run_in_background(const std::function<Result<void>(const Ready&)>& serve);

// Logs to the standard error in the foreground, otherwise to the system log, or to `path` where there
// is none.
void start_logging(bool foreground, const std::string& path, uint32_t debug_mask);

}  // namespace sluice
