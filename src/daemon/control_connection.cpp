#include "daemon/control_connection.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/passing.hpp"
#include "daemon/control_request.hpp"

namespace sluice {
namespace {

bool would_block(int error) { return error == EAGAIN || error == EINTR || error == ENOBUFS; }

}  // namespace

ControlConnection::~ControlConnection() {
  if (request_) leave_waiting(request_, RequestStage::given_up);
}

short ControlConnection::awaited_events() const {
  if (awaits_answer()) return 0;
  return replying() ? POLLOUT : POLLIN;
}

// POLLHUP is always reported. Remaining bytes of a request are read first.
bool ControlConnection::proceed(short events) {
  if (awaits_answer()) return (events & (POLLHUP | POLLERR)) == 0;
  if (!replying() && !receive()) return false;
  if (replying() && !send_pending()) return false;
  return begin_requests();
}

// False: the client has hung up.
bool ControlConnection::receive() {
  std::array<char, 16384> bytes;
  const ssize_t count = receive_passed(socket_.number(), bytes, received_files_, MSG_DONTWAIT);
  if (count < 0) return would_block(errno);
  if (count == 0) return false;
  received_.append(bytes.data(), static_cast<size_t>(count));
  return true;
}

// Starts the next complete request, once the last one is answered.
bool ControlConnection::begin_requests() {
  if (replying() || awaits_answer()) return true;
  if (last_reply_) return false;
  const size_t end = received_.find('\n');
  if (end != std::string::npos) {
    const std::string line = received_.substr(0, end);
    received_.erase(0, end + 1);
    begin(line);
    return true;
  }
  const bool has_room =
      received_.size() <= kMaxControlRequestBytes && received_files_.size() <= kPassedAtOnce;
  if (has_room) return true;
  last_reply_ = true;
  received_files_.clear();
  reply_with(fail(EMSGSIZE, fmt::format("a request has at most {} bytes and {} descriptors",
                                        kMaxControlRequestBytes, kPassedAtOnce)));
  return send_pending() && replying();
}

void ControlConnection::begin(std::string_view line) {
  request_ = std::make_shared<std::atomic<RequestStage>>(RequestStage::waiting);
  const auto limit =
      commands_.run(line, std::exchange(received_files_, {}), answers_.promise(request_));
  answer_due_ = Clock::now() + limit;
}

bool ControlConnection::take_answer(Result<ControlReply> reply) {
  request_.reset();
  reply_with(std::move(reply));
  if (!send_pending()) return false;
  return begin_requests();
}

bool ControlConnection::give_up_answer() {
  const bool nothing_done = leave_waiting(request_, RequestStage::given_up);
  return take_answer(fail(ETIMEDOUT, nothing_done ? "the server is busy with an earlier request, "
                                                    "and has not started this one: try again later"
                                                  : "the server has started the request, but it "
                                                    "takes long: 'sluice list' shows the result"));
}

bool ControlConnection::refuse_request() {
  if (!leave_waiting(request_, RequestStage::given_up)) return true;
  return take_answer(fail(
      EBUSY,
      "too many clients wait for the server, and this request was not started: try again later"));
}

void ControlConnection::reply_with(Result<ControlReply> reply) {
  sent_ = 0;
  silent_since_ = Clock::now();
  if (reply && reply->descriptors.size() <= kPassedAtOnce) {
    reply_ = control_reply_line(std::move(reply->body));
    descriptors_ = std::move(reply->descriptors);
  } else {
    reply_ = control_reply_line(reply ? Error{E2BIG, "too many descriptors for one reply"}
                                      : reply.error());
  }
}

// False: the client has hung up.
bool ControlConnection::send_pending() {
  while (replying()) {
    const std::string_view rest = std::string_view(reply_).substr(sent_);
    const ssize_t count =
        send_passing(socket_.number(), rest, numbers_of(descriptors_), MSG_DONTWAIT);
    if (count < 0) return would_block(errno);
    descriptors_.clear();
    sent_ += static_cast<size_t>(count);
  }
  silent_since_ = Clock::now();
  reply_.clear();
  sent_ = 0;
  return true;
}

void ControlConnection::refuse(const Descriptor& socket, const Error& error) {
  const std::string line = control_reply_line(error);
  [[maybe_unused]] const ssize_t sent =
      send(socket.number(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace sluice
