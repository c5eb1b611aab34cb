// Companion: the command for whose time a device exists (`sluice add --run`).
//
// Its process begins before the device, in the directory, the mounts and the environment of the
// caller, which a server leaves; it becomes /bin/sh when it is told the path of the device. If the
// server is killed, the shell gets SIGTERM. Used by the main thread, which makes it before there
// are other threads, and lives as long as the server.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

class Companion {
 public:
  // The command gets the open files of this process, except `withheld`.
  static Result<std::unique_ptr<Companion>> start(const std::string& command,
                                                  std::span<const int> withheld);
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;
  // A command that has not begun never does.
  ~Companion() = default;

  // The descriptor that this process must keep.
  int descriptor() const { return start_.number(); }
  // Runs the command, with the path of the device as $path; a URI is $uri and $SLUICE_URI, too.
  // False: its process has gone.
  bool begin(const std::string& device_path);
  // SIGCHLD is a reason to ask.
  bool has_ended();
  // SIGTERM, once: for the processes of the command, unless they share the terminal.
  void tell_to_end();
  // Waits for its end, and passes a signal on that tells this process to end. Some seconds after
  // tell_to_end() the command is killed. Returns its exit status; of a killed one 128 and the
  // signal.
  int wait();

 private:
  using Clock = std::chrono::steady_clock;

  Companion() = default;
  void signal(int number) const;

  Descriptor start_;  // a pipe: it begins with what is written there
  pid_t process_ = -1;
  bool has_group_ = false;  // of processes
  std::optional<int> status_;
  std::optional<Clock::time_point> kill_at_;
};

}  // namespace sluice
