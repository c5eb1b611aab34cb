#include "target/nbd/session.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "nbd/request.hpp"
#include "ring/sockets.hpp"

namespace sluice::nbd::client {
namespace {

constexpr size_t kInputBytes = 64 << 10;  // more than any message of a handshake

// A server that has gone without a word is noticed after two minutes, even if nothing is asked.
constexpr int kIdleSeconds = 60;
constexpr int kProbeSeconds = 10;
constexpr int kProbes = 6;

void set(int socket, int level, int option, int value) {
  setsockopt(socket, level, option, &value, sizeof(value));
}

void prepare_tcp(int socket) {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
}

}  // namespace

void Session::end() {
  if (!valid()) return;
  std::array<std::byte, kExtendedRequestBytes> goodbye{};
  const size_t bytes =
      write_request({.command = Command::disconnect}, agreed.headers, std::span(goodbye));
  [[maybe_unused]] const ssize_t sent =
      send(socket.number(), goodbye.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  socket = Descriptor();
}

// Between this and the end of the wait, cancel() ends what is awaited.
template <typename Awaitable>
auto Dialler::watch(Timeout& limit, Awaitable& awaitable) {
  waiting_for_ = &awaitable;
  return limit.limit(awaitable);
}

void Dialler::cancel() {
  cancelled_ = true;
  if (waiting_for_ != nullptr) ring_.cancel(*std::exchange(waiting_for_, nullptr));
}

Task Dialler::dial(Request& own, const Server& server, std::chrono::nanoseconds time) {
  Status status = Status::from_errno(EHOSTUNREACH);
  cancelled_ = false;
  const auto part = time / static_cast<int64_t>(std::max<size_t>(server.addresses.size(), 1));
  for (const Address& address : server.addresses) {
    Timeout limit(ring_, part);
    why.clear();
    Task connecting = connect(own, address, limit);
    status = co_await connecting;
    if (status.ok()) {
      Task shaking = shake_hands(own, server.uri, limit);
      status = co_await shaking;
    }
    if (status.ok()) co_return kOk;
    if (why.empty()) {
      why = status.error() == ETIMEDOUT ? fmt::format("it does not answer within {:.3g} s",
                                                      std::chrono::duration<double>(part).count())
                                        : std::strerror(status.error());
    }
    session = {};
    if (cancelled_) co_return Status::from_errno(ECANCELED);
  }
  co_return status;
}

Task Dialler::connect(Request& /*own*/, const Address& address, Timeout& limit) {
  session = {};
  session.socket = Descriptor(socket(address.name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!session.valid()) co_return Status::from_errno(errno);
  session.tcp = address.tcp;
  if (address.tcp) prepare_tcp(session.socket.number());
  auto connecting = sockets::connect(
      ring_, session.file(), reinterpret_cast<const sockaddr&>(address.name), address.length);
  auto limited = watch(limit, connecting);
  const int32_t result = co_await limited;
  waiting_for_ = nullptr;
  co_return Status::from_result(result);
}

Task Dialler::shake_hands(Request& /*own*/, const Uri& uri, Timeout& limit) {
  ClientHandshake handshake({.export_name = uri.export_name});
  std::vector<std::byte> output;
  std::vector<std::byte> input(kInputBytes);
  size_t used = 0;
  while (true) {
    if (!output.empty()) {
      auto sending = sockets::send_all(ring_, session.file(), output);
      auto limited = watch(limit, sending);
      const Status sent = co_await limited;
      waiting_for_ = nullptr;
      if (!sent.ok()) co_return sent;
      output.clear();
    }
    if (handshake.state() == ClientHandshake::State::transmission) break;
    if (handshake.state() == ClientHandshake::State::failed) {
      why = handshake.why();
      co_return Status::from_errno(EPROTO);
    }
    if (used == input.size()) co_return Status::from_errno(EMSGSIZE);
    auto receiving = sockets::recv_some(ring_, session.file(), std::span(input).subspan(used));
    auto limited = watch(limit, receiving);
    const int32_t received = co_await limited;
    waiting_for_ = nullptr;
    if (received == 0) {
      why = "it hangs up during the handshake";
      co_return Status::from_errno(ECONNRESET);
    }
    if (received < 0) co_return Status::from_result(received);
    used += static_cast<size_t>(received);
    const size_t taken = handshake.feed(Bytes(input).first(used), output);
    std::memmove(input.data(), input.data() + taken, used - taken);
    used -= taken;
  }
  if (used != 0) {
    why = "it answers before it is asked";
    co_return Status::from_errno(EPROTO);
  }
  session.agreed = handshake.agreed();
  co_return kOk;
}

}  // namespace sluice::nbd::client
