// The destination of a server's log.
#pragma once

#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/sinks/sink.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice {

// Keeps log lines in memory until start_logging(), for the time before the server's log is known.
class LogKeeper {
 public:
  // `quiet`: lines() returns only warnings and errors.
  explicit LogKeeper(uint32_t debug_mask, bool quiet = false);
  // The lines for the user, in order.
  std::vector<std::string> lines() const;
  // Writes all kept lines, with their times, to the log that was started meanwhile.
  void repeat() const;

 private:
  const bool quiet_;
  std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> sink_;
};

// Logs to the standard error output in the foreground, otherwise to the system log, or to `path` if
// there is none. Called in the serving process, in its final mount namespace: it may start a
// thread. `quiet`: only warnings and errors.
Result<void> start_logging(bool foreground, const std::string& path, uint32_t debug_mask,
                           bool quiet = false);

// Writes to a file of the state directory, and starts another one when it is full. Throws.
std::shared_ptr<spdlog::sinks::sink> make_log_file_sink(const std::string& path);

// Call before _exit().
void finish_logging();

}  // namespace sluice
