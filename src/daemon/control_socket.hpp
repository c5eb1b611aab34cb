// ControlSocket: the Unix stream socket of a running server, beside its record.
//
// Owned by the control path. It has one thread, which sleeps until a client connects and is
// independent of the data path. Only root and the server's first user are accepted. Limits bound
// the length of a request, the silence of a client, and the number of clients. If there are too
// many, the one silent for the longest time is closed: a client with a request never waits for an
// idle one. Only its own client waits for a slow command.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "daemon/answer_box.hpp"
#include "daemon/control_commands.hpp"
#include "daemon/control_connection.hpp"

namespace sluice {

struct ControlLimits {
  size_t clients = 64;  // except those that wait for a slow command
  std::chrono::milliseconds silence{10'000};
  // The minimum times that a client has to send a request and to read a reply, even if others wait
  // for its place.
  std::chrono::milliseconds to_ask{25};
  std::chrono::milliseconds to_listen{1'000};
  size_t waiting = 16;  // for a slow command; more clients get EBUSY
};

class ControlSocket {
 public:
  // Replaces the socket of another server, dead or alive: from then on clients connect here.
  static Result<std::unique_ptr<ControlSocket>> open(const std::string& path,
                                                     ControlCommands commands,
                                                     const ControlLimits& limits = {});
  // In two steps: clients can connect after the first, and are served after the second.
  static Result<std::unique_ptr<ControlSocket>> listen(const std::string& path,
                                                       ControlCommands commands,
                                                       const ControlLimits& limits = {});
  Result<void> begin();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;
  // Returns when no command runs on its thread. Sends given answers as far as possible without
  // blocking; later answers are discarded. Removes the file, unless it now belongs to another
  // server.
  ~ControlSocket();

  // Keeps the file: another server replaces it, or has done so.
  void leave_file() { inode_ = 0; }

 private:
  using Clock = ControlConnection::Clock;

  ControlSocket(std::string path, ControlCommands commands, const ControlLimits& limits);
  Result<void> listen_at_path();
  void run();
  void hand_out_answers();
  void close_late(Clock::time_point now);
  bool full() const;
  bool has_to_go(const ControlConnection& client, Clock::time_point now) const;
  bool somebody_has_to_go(Clock::time_point now) const;
  Clock::time_point may_go_at(const ControlConnection& client) const;
  bool close_most_silent(Clock::time_point now);
  bool may_ask(int client) const;
  bool accept_all(Clock::time_point now);
  bool take_spares();
  bool release_spares();
  int milliseconds_to_sleep(Clock::time_point now) const;

  const std::string path_;
  const ControlCommands commands_;
  const ControlLimits limits_;
  const uid_t owner_;  // the user of this process when it was made
  Descriptor listener_;
  const std::shared_ptr<AnswerBox> answers_;
  std::atomic<bool> ending_ = false;
  ino_t inode_ = 0;
  // Kept for times when the process has no other: a client, and what its command opens.
  std::array<Descriptor, 4> spares_;
  bool exhausted_ = false;  // no descriptor was available for a client
  std::list<ControlConnection> connections_;
  std::thread thread_;
};

}  // namespace sluice
