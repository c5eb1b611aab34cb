#include "daemon/ask.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "daemon/control_request.hpp"
#include "daemon/socket_address.hpp"
#include "daemon/state.hpp"

namespace sluice {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

std::unexpected<Error> failed_to(const char* what, int cause) {
  return fail(cause, fmt::format("cannot {} its server: {}", what, std::strerror(cause)));
}

Result<Descriptor> connect_to(const std::string& path, std::chrono::milliseconds limit) {
  const auto address = SocketAddress::make(path);
  if (!address) return std::unexpected(address.error());
  Descriptor server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!server.valid()) return failed_to("ask", errno);
  // How long connect() waits for a server that has many clients.
  const timeval patience{.tv_sec = limit.count() / 1000, .tv_usec = limit.count() % 1000 * 1000};
  setsockopt(server.number(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (connect(server.number(), address->get(), SocketAddress::size()) == 0) return server;
  return failed_to("reach", errno == EAGAIN ? ETIMEDOUT : errno);
}

// Until the socket has one of the events; false at the end of the time.
bool wait_for(const Descriptor& socket, short events, Clock::time_point end) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    pollfd file{.fd = socket.number(), .events = events, .revents = 0};
    if (poll(&file, 1, static_cast<int>(left.count())) > 0) return true;
  }
}

Result<void> send_all(const Descriptor& server, std::string_view bytes, Clock::time_point end) {
  while (!bytes.empty()) {
    if (!wait_for(server, POLLOUT, end)) return failed_to("ask", ETIMEDOUT);
    const ssize_t count = send(server.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    // Hung up on us: perhaps with a last word, why.
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) return {};
    if (count < 0 && errno != EAGAIN && errno != EINTR) return failed_to("ask", errno);
    if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

void keep_descriptors(msghdr& message, std::vector<Descriptor>& descriptors) {
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(each) + i * sizeof(int), sizeof(number));
      descriptors.emplace_back(number);
    }
  }
}

// The reply's line, without its end; `descriptors` gets what comes with it.
Result<std::string> receive_line(const Descriptor& server, std::vector<Descriptor>& descriptors,
                                 Clock::time_point end) {
  std::string line;
  std::array<char, 65536> bytes;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(256 * sizeof(int))> control;
  while (!line.ends_with('\n')) {
    if (!wait_for(server, POLLIN, end)) return failed_to("hear from", ETIMEDOUT);
    iovec data{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = recvmsg(server.number(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count <= 0) return failed_to("hear from", EPIPE);
    keep_descriptors(message, descriptors);
    line.append(bytes.data(), static_cast<size_t>(count));
    if (line.size() > kMaxControlReplyBytes) return failed_to("understand", EMSGSIZE);
  }
  line.pop_back();
  return line;
}

struct Answer {
  std::string line;
  std::vector<Descriptor> descriptors;
};

Result<Answer> exchange(const std::string& path, const json& request,
                        std::chrono::milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  const auto server = connect_to(path, limit);
  if (!server) return std::unexpected(server.error());
  const std::string line = request.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
  if (auto sent = send_all(*server, line, end); !sent) return std::unexpected(sent.error());
  Answer answer;
  auto received = receive_line(*server, answer.descriptors, end);
  if (!received) return std::unexpected(received.error());
  answer.line = std::move(*received);
  return answer;
}

Result<ControlReply> read(Answer answer) {
  auto body = parse_control_reply(answer.line);
  if (!body) return std::unexpected(body.error());
  return ControlReply{.body = std::move(*body), .descriptors = std::move(answer.descriptors)};
}

// What a person can do about a server that could not be asked.
Error explain(const Error& error, const DeviceRecord& record) {
  const uint32_t id = record.id;
  const auto sentence = [&](const char* format) {
    return Error{error.error, fmt::format(fmt::runtime(format), id, record.pid)};
  };
  switch (error.error) {
    case ENOENT:
    case ECONNREFUSED:
      return sentence(
          "the server of device {0} (process {1}) has no control socket: it is of an "
          "older sluice, or is ending");
    case EPERM:
    case EACCES:
      return sentence(
          "only root and the user who runs the server of device {0} may ask it: use "
          "sudo");
    case ETIMEDOUT:
      return sentence(
          "the server of device {0} (process {1}) does not answer: it is stopped, or "
          "busy with what it was asked before");
    case EPIPE:
      return sentence(
          "the server of device {0} (process {1}) hung up without an answer: it has "
          "ended, or was busy for too long");
    default:
      return error;
  }
}

}  // namespace

Result<json> ask(uint32_t id, const json& request, std::chrono::milliseconds limit) {
  auto reply = ask_for_descriptors(id, request, limit);
  if (!reply) return std::unexpected(reply.error());
  return std::move(reply->body);
}

Result<ControlReply> ask_for_descriptors(uint32_t id, const json& request,
                                         std::chrono::milliseconds limit) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) {
    return fail(ESRCH, fmt::format("the server of device {} (process {}) is gone: 'sluice recover "
                                   "-n {}' starts another if the device was added with -r 1",
                                   id, record->pid, id));
  }
  auto answer = exchange(control_path(id), request, limit);
  if (!answer) return std::unexpected(explain(answer.error(), *record));
  return read(std::move(*answer));
}

Result<ControlReply> ask_at(const std::string& path, const json& request,
                            std::chrono::milliseconds limit) {
  auto answer = exchange(path, request, limit);
  if (!answer) return std::unexpected(answer.error());
  return read(std::move(*answer));
}

}  // namespace sluice
