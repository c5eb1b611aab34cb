// ControlConnection: one client of a control socket. It reads a request, starts its command, sends
// the reply, and only then reads the next: a client that does not read, or whose command is slow,
// delays only itself.
//
// Owned by the ControlSocket and used by its thread only. Never blocks.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "daemon/answer_box.hpp"
#include "daemon/control_commands.hpp"

namespace sluice {

class ControlConnection {
 public:
  using Clock = std::chrono::steady_clock;

  // `socket` must be non-blocking.
  ControlConnection(Descriptor socket, const ControlCommands& commands, AnswerBox& answers)
      : socket_(std::move(socket)), commands_(commands), answers_(answers) {}
  ControlConnection(const ControlConnection&) = delete;
  ControlConnection& operator=(const ControlConnection&) = delete;
  // Gives up its pending request.
  ~ControlConnection();

  int socket() const { return socket_.number(); }
  // The events to poll for: POLLIN or POLLOUT; 0: it waits for its answer, or for the client to
  // close.
  short awaited_events() const;
  // Does all work that does not block. False: the connection has ended.
  bool proceed(short events);
  // False: the connection has ended.
  bool take_answer(Result<ControlReply> reply);
  // True if this is its pending request.
  bool awaits(const SharedStage& request) const { return request_ && request_ == request; }
  bool awaits_answer() const { return request_ != nullptr; }
  bool replying() const { return sent_ < reply_.size(); }

  // The time of its creation, or of the start or end of the last reply: it has been silent, or slow
  // to read, since then.
  Clock::time_point silent_since() const { return silent_since_; }
  // The deadline of its answer.
  Clock::time_point answer_due() const { return answer_due_; }
  // Replies with a timeout error. False: the connection has ended.
  bool give_up_answer();
  // Replies that too many clients wait, unless its request has been started. False: the
  // connection has ended.
  bool refuse_request();

  // Sends one error without blocking, for a client that is not accepted.
  static void refuse(const Descriptor& socket, const Error& error);

 private:
  bool receive();
  bool begin_requests();
  void begin(std::string_view line);
  void reply_with(Result<ControlReply> reply);
  bool send_pending();

  Descriptor socket_;
  const ControlCommands& commands_;
  AnswerBox& answers_;
  Clock::time_point silent_since_ = Clock::now();
  std::string received_;
  std::vector<Descriptor> received_files_;  // descriptors, for the next request to begin
  SharedStage request_;                     // pending
  Clock::time_point answer_due_;
  std::string reply_;
  size_t sent_ = 0;
  std::vector<Descriptor> descriptors_;  // sent with the first byte of the reply
  bool last_reply_ = false;              // closes after it is sent
};

}  // namespace sluice
