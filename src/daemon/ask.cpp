#include "daemon/ask.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "core/passing.hpp"
#include "daemon/control_request.hpp"
#include "daemon/device_name.hpp"
#include "daemon/socket_address.hpp"
#include "daemon/state.hpp"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

std::unexpected<Error> failed_to(const char* what, int cause) {
  return fail(cause, fmt::format("cannot {} its server: {}", what, std::strerror(cause)));
}

Result<Descriptor> connect_to(const std::string& path, std::chrono::milliseconds limit) {
  const auto address = SocketAddress::make(path);
  if (!address) return std::unexpected(address.error());
  Descriptor server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!server.valid()) return failed_to("ask", errno);
  // Limits connect() to a server that has many clients.
  const timeval timeout{.tv_sec = limit.count() / 1000, .tv_usec = limit.count() % 1000 * 1000};
  setsockopt(server.number(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  if (connect(server.number(), address->get(), SocketAddress::size()) == 0) return server;
  return failed_to("reach", errno == EAGAIN ? ETIMEDOUT : errno);
}

// Waits for one of the events; false: the time is over.
bool wait_for(const Descriptor& socket, short events, Clock::time_point end) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    pollfd file{.fd = socket.number(), .events = events, .revents = 0};
    if (poll(&file, 1, static_cast<int>(left.count())) > 0) return true;
  }
}

Result<void> send_all(const Descriptor& server, std::string_view bytes,
                      std::span<const int> descriptors, Clock::time_point end) {
  while (!bytes.empty()) {
    if (!wait_for(server, POLLOUT, end)) return failed_to("ask", ETIMEDOUT);
    const ssize_t count = send_passing(server.number(), bytes, descriptors);
    // The server closed the connection, possibly after a last reply with the reason.
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) return {};
    if (count < 0 && errno != EAGAIN && errno != EINTR) return failed_to("ask", errno);
    if (count <= 0) continue;
    bytes.remove_prefix(static_cast<size_t>(count));
    descriptors = {};  // they went with the first byte
  }
  return {};
}

// Receives the reply's line, without the newline, and its `descriptors`.
Result<std::string> receive_line(const Descriptor& server, std::vector<Descriptor>& descriptors,
                                 Clock::time_point end) {
  std::string line;
  std::array<char, 65536> bytes;
  while (!line.ends_with('\n')) {
    if (!wait_for(server, POLLIN, end)) return failed_to("hear from", ETIMEDOUT);
    const ssize_t count = receive_passed(server.number(), bytes, descriptors, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count <= 0) return failed_to("hear from", EPIPE);
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

Result<Answer> exchange(const std::string& path, const JsonValue& request,
                        std::span<const int> descriptors, std::chrono::milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  const auto server = connect_to(path, limit);
  if (!server) return std::unexpected(server.error());
  const std::string line = to_text(request) + '\n';
  auto sent = send_all(*server, line, descriptors, end);
  if (!sent) return std::unexpected(sent.error());
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

// Advice about a server that could not be asked.
Error explain(const Error& error, const DeviceRecord& record) {
  const auto sentence = [&](const char* format) {
    return Error{error.error, fmt::format(fmt::runtime(format), described(record), record.pid)};
  };
  switch (error.error) {
    case ENOENT:
    case ECONNREFUSED:
      return sentence(
          "the server of {0}, process {1}, has no control socket: it is of an "
          "older sluice, or is ending");
    case EPERM:
    case EACCES:
      return sentence(
          "only root and the user who runs the server of {0} may ask it: use "
          "sudo");
    case ETIMEDOUT:
      return sentence(
          "the server of {0}, process {1}, does not answer: it is stopped, or busy with an earlier "
          "request");
    case EPIPE:
      return sentence(
          "the server of {0}, process {1}, closed the connection without an answer: it has ended, "
          "or was busy for too long");
    default:
      return error;
  }
}

Result<ControlReply> ask_server(uint32_t id, const JsonValue& request,
                                std::span<const int> descriptors, std::chrono::milliseconds limit) {
  const auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (!server_alive(*record)) return std::unexpected(server_is_gone(*record));
  auto answer = exchange(control_path(id), request, descriptors, limit);
  if (!answer) return std::unexpected(explain(answer.error(), *record));
  return read(std::move(*answer));
}

}  // namespace

Result<JsonValue> ask(uint32_t id, const JsonValue& request, std::chrono::milliseconds limit) {
  return ask_passing(id, request, {}, limit);
}

Result<JsonValue> ask_passing(uint32_t id, const JsonValue& request,
                              std::span<const int> descriptors, std::chrono::milliseconds limit) {
  auto reply = ask_server(id, request, descriptors, limit);
  if (!reply) return std::unexpected(reply.error());
  return std::move(reply->body);
}

Result<ControlReply> ask_for_descriptors(uint32_t id, const JsonValue& request,
                                         std::chrono::milliseconds limit) {
  return ask_server(id, request, {}, limit);
}

Result<ControlReply> ask_at(const std::string& path, const JsonValue& request,
                            std::chrono::milliseconds limit) {
  auto answer = exchange(path, request, {}, limit);
  if (!answer) return std::unexpected(answer.error());
  return read(std::move(*answer));
}

}  // namespace sluice
