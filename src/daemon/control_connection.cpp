#include "daemon/control_connection.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/control_request.hpp"

namespace sluice {
namespace {

constexpr size_t kMaxDescriptors = 253;  // SCM_MAX_FD of the kernel

// Sends bytes, and with the first of them the descriptors.
ssize_t send_with(int socket, std::string_view bytes, const std::vector<Descriptor>& descriptors) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec data{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    for (size_t i = 0; i < descriptors.size(); ++i) {
      const int number = descriptors[i].number();
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &number, sizeof(number));
    }
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool would_block(int error) { return error == EAGAIN || error == EINTR || error == ENOBUFS; }

}  // namespace

short ControlConnection::awaited_events() const { return replying() ? POLLOUT : POLLIN; }

bool ControlConnection::proceed() {
  if (!replying() && !receive()) return false;
  if (replying() && !send_pending()) return false;
  carry_out_requests();
  return replying() || !last_reply_;
}

// False: the client has hung up.
bool ControlConnection::receive() {
  std::array<char, 16384> bytes;
  const ssize_t count = recv(socket_.number(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (count < 0) return would_block(errno);
  if (count == 0) return false;
  received_.append(bytes.data(), static_cast<size_t>(count));
  return true;
}

// Those that have come whole, one after the other, up to a reply that cannot be sent at once.
void ControlConnection::carry_out_requests() {
  size_t begin = 0;
  while (!replying() && !last_reply_) {
    const size_t end = received_.find('\n', begin);
    if (end == std::string::npos) break;
    answer(std::string_view(received_).substr(begin, end - begin));
    begin = end + 1;
  }
  received_.erase(0, begin);
  if (received_.size() <= kMaxControlRequestBytes || replying()) return;
  reply_ = control_reply_line(
      Error{EMSGSIZE, fmt::format("a request has at most {} bytes", kMaxControlRequestBytes)});
  sent_ = 0;
  last_reply_ = true;
  if (!send_pending()) reply_.clear();
}

void ControlConnection::answer(std::string_view line) {
  auto reply = commands_.run(line);
  sent_ = 0;
  if (reply && reply->descriptors.size() <= kMaxDescriptors) {
    reply_ = control_reply_line(std::move(reply->body));
    descriptors_ = std::move(reply->descriptors);
  } else {
    reply_ = control_reply_line(reply ? Error{E2BIG, "too many descriptors for one reply"}
                                      : reply.error());
  }
  answered_at_ = Clock::now();
  if (send_pending()) return;
  reply_.clear();
  last_reply_ = true;
}

// False: the client has hung up.
bool ControlConnection::send_pending() {
  while (replying()) {
    const std::string_view rest = std::string_view(reply_).substr(sent_);
    const ssize_t count = send_with(socket_.number(), rest, descriptors_);
    if (count < 0) return would_block(errno);
    descriptors_.clear();
    sent_ += static_cast<size_t>(count);
  }
  answered_at_ = Clock::now();
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
