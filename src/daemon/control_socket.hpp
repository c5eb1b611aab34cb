// ControlSocket: where a running server can be asked things, a Unix stream socket beside its
// record.
//
// Owned by the control path. It has one thread of its own, which sleeps until somebody comes; no
// thread of the data path knows of it. Only root and the server's own user are listened to.
// Whatever clients send, or fail to send, is bounded: the length of a request, the number of
// clients (others wait until one has gone), and how long one may be silent.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "daemon/control_commands.hpp"
#include "daemon/control_connection.hpp"

namespace sluice {

struct ControlLimits {
  size_t clients = 16;
  std::chrono::milliseconds silence{10'000};
};

class ControlSocket {
 public:
  // Takes the place of a socket that another server has left there, or still has: from then on
  // clients come here.
  static Result<std::unique_ptr<ControlSocket>> open(const std::string& path,
                                                     ControlCommands commands,
                                                     const ControlLimits& limits = {});
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;
  // Returns once no command runs any more. The file is removed, unless it is another server's now.
  ~ControlSocket();

  // The file stays: another server is about to put its own there, or has.
  void leave_file() { inode_ = 0; }

 private:
  using Clock = ControlConnection::Clock;

  ControlSocket(std::string path, ControlCommands commands, const ControlLimits& limits);
  Result<void> listen_at_path();
  void run();
  bool full() const { return connections_.size() >= limits_.clients; }
  bool accept_one();
  int milliseconds_to_sleep() const;
  void close_silent(Clock::time_point now);

  const std::string path_;
  const ControlCommands commands_;
  const ControlLimits limits_;
  Descriptor listener_;
  Descriptor end_;  // an eventfd: readable when the thread is to end
  ino_t inode_ = 0;
  bool exhausted_ = false;  // no descriptor could be had for a client
  std::list<ControlConnection> connections_;
  std::thread thread_;
};

}  // namespace sluice
