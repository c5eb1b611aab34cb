#include "target/nbd/session.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "nbd/request.hpp"
#include "ring/sockets.hpp"

namespace sluice::nbd::client {
namespace {

using std::chrono::nanoseconds;

constexpr size_t kInputBytes = 64 << 10;  // more than any message of a handshake

constexpr std::chrono::milliseconds kPartingTime{200};

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

// Of an IP address, without the port.
std::string address_text(const Address& address) {
  std::array<char, NI_MAXHOST> text{};
  const int error = getnameinfo(reinterpret_cast<const sockaddr*>(&address.name), address.length,
                                text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
  return error == 0 ? text.data() : "an address";
}

}  // namespace

void Session::end() {
  if (!valid()) return;
  if (tls) {  // whose end says it as well
    tls->close();
    tls.reset();
    socket = Descriptor();
    return;
  }
  std::array<std::byte, kExtendedRequestBytes> goodbye{};
  const size_t bytes =
      write_request({.command = Command::disconnect}, agreed.headers, std::span(goodbye));
  [[maybe_unused]] const ssize_t sent =
      send(socket.number(), goodbye.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  socket = Descriptor();
}

void Dialler::cancel() {
  cancelled_ = true;
  if (waiting_for_ != nullptr) ring_.cancel(*std::exchange(waiting_for_, nullptr));
}

// One address after the other: each may use its part of what the ones before it have left.
Task Dialler::dial(Request& own, const Server& server, std::chrono::nanoseconds time) {
  Status status = Status::from_errno(EHOSTUNREACH);
  cancelled_ = false;
  why.clear();
  const auto deadline = std::chrono::steady_clock::now() + time;
  auto untried = static_cast<int64_t>(server.addresses.size());
  for (const Address& address : server.addresses) {
    const nanoseconds left = deadline - std::chrono::steady_clock::now();
    const nanoseconds part = std::max<nanoseconds>(left, {}) / untried--;
    std::string reason;
    std::swap(reason, why);
    Task trying = dial_one(own, server, address, part);
    status = co_await trying;
    if (status.ok()) co_return kOk;
    session = {};
    if (cancelled_) co_return Status::from_errno(ECANCELED);
    if (server.addresses.size() > 1) why = address_text(address) + ": " + why;
    if (!reason.empty()) why = reason + ", " + why;
  }
  co_return status;
}

Task Dialler::dial_one(Request& own, const Server& server, const Address& address,
                       nanoseconds time) {
  Timeout limit(ring_, time);
  Task connecting = connect(own, address, limit);
  Status status = co_await connecting;
  if (status.ok()) {
    Task shaking = shake_hands(own, server, limit);
    status = co_await shaking;
  }
  if (status.ok() || !why.empty()) co_return status;
  why = status.error() == ETIMEDOUT ? fmt::format("it does not answer within {:.3g} s",
                                                  std::chrono::duration<double>(time).count())
                                    : std::strerror(status.error());
  co_return status;
}

Task Dialler::connect(Request& own, const Address& address, Timeout& limit) {
  session = {};
  if (cancelled_) co_return Status::from_errno(ECANCELED);
  session.socket = Descriptor(socket(address.name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!session.valid()) co_return Status::from_errno(errno);
  session.tcp = address.tcp;
  if (address.tcp) prepare_tcp(session.socket.number());
  auto connecting = sockets::connect(
      ring_, session.file(), reinterpret_cast<const sockaddr&>(address.name), address.length);
  waiting_for_ = &connecting;
  auto limited = limit.limit(connecting);
  const int32_t result = co_await limited;
  waiting_for_ = nullptr;
  // On AF_VSOCK the kernel may try again too early, and takes its own attempt for another's.
  if (result == -EALREADY) {
    Task waiting = await_connected(own, limit);
    co_return co_await waiting;
  }
  const bool cut = result == -EINTR && limit.expired();  // on a socket file with a full backlog
  co_return Status::from_result(cut ? -ETIMEDOUT : result);
}

Task Dialler::await_connected(Request& /*own*/, Timeout& limit) {
  auto polling = sockets::poll(ring_, session.file(), POLLOUT);
  waiting_for_ = &polling;
  auto limited = limit.limit(polling);
  const int32_t result = co_await limited;
  waiting_for_ = nullptr;
  if (result < 0) co_return Status::from_result(result);
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(session.socket.number(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
    co_return Status::from_errno(errno);
  }
  co_return Status::from_errno(error);
}

Task Dialler::shake_hands(Request& own, const Server& server, Timeout& limit) {
  using State = ClientHandshake::State;
  ClientHandshake handshake(
      {.export_name = server.uri.export_name,
       .tls = server.uri.tls ? ClientHandshake::Tls::required : ClientHandshake::Tls::none});
  std::vector<std::byte> output;
  std::vector<std::byte> input(kInputBytes);
  size_t used = 0;
  while (true) {
    if (!output.empty()) {
      Task sending = send(own, output, limit);
      if (const Status sent = co_await sending; !sent.ok()) co_return sent;
      output.clear();
    }
    if (handshake.state() == State::transmission) break;
    if (cancelled_) co_return Status::from_errno(ECANCELED);
    if (handshake.state() == State::failed) {
      why = handshake.why();
      co_return Status::from_errno(EPROTO);
    }
    if (handshake.state() == State::starting_tls) {
      Task starting = start_tls(own, server, limit);
      if (const Status started = co_await starting; !started.ok()) co_return started;
      handshake.tls_started(output);
      continue;
    }
    if (used == input.size()) co_return Status::from_errno(EMSGSIZE);
    size_t received = 0;
    Task receiving = receive(own, std::span(input).subspan(used), received, limit);
    if (const Status status = co_await receiving; !status.ok()) co_return status;
    used += received;
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

Task Dialler::start_tls(Request& own, const Server& server, Timeout& limit) {
  session.tls = std::make_unique<tls::Stream>(session.socket.number(), server.credentials);
  Task shaking =
      session.tls->shake_hands(own, {.ring = ring_, .limit = &limit, .pending = &waiting_for_});
  const Status shaken = co_await shaking;
  if (!shaken.ok() && !session.tls->why().empty()) why = "TLS: " + session.tls->why();
  if (shaken.error() == EPROTO) {
    Task parting = part(own);
    [[maybe_unused]] const Status parted = co_await parting;
  }
  co_return shaken;
}

// Waits a moment for the server to hang up: a socket that is closed while it has unread input may
// lose our alert, which tells the server why.
Task Dialler::part(Request& /*own*/) {
  session.tls.reset();
  const int socket = session.socket.number();
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  shutdown(socket, SHUT_WR);
  Timeout limit(ring_, kPartingTime);
  std::array<std::byte, 4096> unread{};
  int32_t received = 1;
  while (received > 0 && !cancelled_) {
    auto receiving = sockets::recv_some(ring_, session.file(), unread);
    waiting_for_ = &receiving;
    auto limited = limit.limit(receiving);
    received = co_await limited;
    waiting_for_ = nullptr;
  }
  co_return kOk;
}

Task Dialler::send(Request& own, std::span<std::byte> bytes, Timeout& limit) {
  iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
  if (session.tls) {
    Task sending = session.tls->send(
        own, {.ring = ring_, .limit = &limit, .pending = &waiting_for_}, {&piece, 1});
    const Status sent = co_await sending;
    if (sent.ok() || sent.error() == ETIMEDOUT || cancelled_) co_return sent;
    // A server that refuses our certificate says so when we think that all is agreed.
    std::array<std::byte, 1> none{};
    size_t received = 0;
    Task receiving = receive(own, none, received, limit);
    [[maybe_unused]] const Status last = co_await receiving;
    co_return sent;
  }
  sockets::GatherSend sending(ring_, session.file(), {&piece, 1});
  waiting_for_ = &sending;
  auto limited = limit.limit(sending);
  const Status sent = co_await limited;
  waiting_for_ = nullptr;
  co_return sent;
}

// At least one byte.
Task Dialler::receive(Request& own, std::span<std::byte> room, size_t& received, Timeout& limit) {
  Status status;
  if (session.tls) {
    Task receiving = session.tls->receive(
        own, {.ring = ring_, .limit = &limit, .pending = &waiting_for_}, room, received);
    status = co_await receiving;
    if (!status.ok() && !session.tls->why().empty()) why = "TLS: " + session.tls->why();
  } else {
    auto receiving = sockets::recv_some(ring_, session.file(), room);
    waiting_for_ = &receiving;
    auto limited = limit.limit(receiving);
    const int32_t result = co_await limited;
    waiting_for_ = nullptr;
    status = Status::from_result(result);
    received = static_cast<size_t>(std::max(result, 0));
  }
  if (!status.ok() || received != 0) co_return status;
  why = "it hangs up during the handshake";
  co_return Status::from_errno(ECONNRESET);
}

}  // namespace sluice::nbd::client
