// ControlConnection: one client of a control socket. It reads a request, has it carried out, sends
// the reply, and only then looks at the next: a client that does not read holds up nobody but
// itself.
//
// Owned by the ControlSocket and used by its thread only. Never waits.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "daemon/control_commands.hpp"

namespace sluice {

class ControlConnection {
 public:
  using Clock = std::chrono::steady_clock;

  // `socket` does not block.
  ControlConnection(Descriptor socket, const ControlCommands& commands)
      : socket_(std::move(socket)), commands_(commands), answered_at_(Clock::now()) {}

  int socket() const { return socket_.number(); }
  // POLLIN or POLLOUT: what it waits for.
  short awaited_events() const;
  // Does what can be done at once. False: the connection is at its end.
  bool proceed();
  // When the last reply was sent whole, or the connection was made: since then it is silent, or too
  // slow.
  Clock::time_point answered_at() const { return answered_at_; }

  // Sends one error, as far as it goes at once, and no more: for a client that is not taken.
  static void refuse(const Descriptor& socket, const Error& error);

 private:
  bool receive();
  void carry_out_requests();
  void answer(std::string_view line);
  bool send_pending();
  bool replying() const { return sent_ < reply_.size(); }

  Descriptor socket_;
  const ControlCommands& commands_;
  Clock::time_point answered_at_;
  std::string received_;
  std::string reply_;
  size_t sent_ = 0;
  std::vector<Descriptor> descriptors_;  // go with the first byte of the reply
  bool last_reply_ = false;              // closes once it is sent
};

}  // namespace sluice
