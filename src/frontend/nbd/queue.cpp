#include "frontend/nbd/queue.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/idle.hpp"
#include "core/log.hpp"

namespace sluice::nbd {
namespace {

constexpr size_t kHandshakesMax = 256;
constexpr uint32_t kAcceptedMax = 16;
constexpr std::chrono::milliseconds kPause{100};  // after an error such as EMFILE
constexpr int kLocalSendBytes = 1 << 20;          // a large READ leaves with one call
constexpr std::chrono::seconds kFarewellTime{5};  // for a client to take the last replies

void set_option(int socket, int level, int name, int value = 1) {
  setsockopt(socket, level, name, &value, sizeof(value));  // best effort
}

bool is_local(int socket) {
  int family = AF_UNSPEC;
  socklen_t length = sizeof(family);
  return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 && family == AF_UNIX;
}

}  // namespace

NbdQueue::NbdQueue(Setup setup, Ring& ring, QueueListener& listener)
    : Queue(listener), setup_(std::move(setup)), ring_(ring), exports_(setup_.exports) {}

NbdQueue::~NbdQueue() = default;

Result<void> NbdQueue::start(int) {
  setup_.newcomers->join(*this, ring_);
  open_entrances(setup_.listeners);
  return {};
}

NbdQueue::Entrance::Entrance(Ring& ring, int listener)
    : acceptor(ring, File{.number = listener}, kAcceptedMax) {}

void NbdQueue::open_entrances(std::span<const int> listeners) {
  for (const int listener : listeners) {
    entrances_.push_back(std::make_unique<Entrance>(ring_, listener));
    ++under_way_;
    accept(*entrances_.back());
  }
}

Service NbdQueue::accept(Entrance& entrance) {
  Acceptor& acceptor = entrance.acceptor;
  while (!stopping_) {
    if (pausing_) {
      auto pausing = acceptor.pause();
      co_await pausing;
      while (auto socket = acceptor.left()) admit(0, std::move(*socket));
      if (!pausing_ || stopping_) continue;
      entrance.at_rest = true;
      tell_if_paused();
      Idle idle{entrance.resting};
      co_await idle;
      entrance.at_rest = false;
      continue;
    }
    auto next = acceptor.next();
    const int32_t result = co_await next;
    if (result == -ECANCELED) continue;
    admit(std::min(result, 0), Descriptor(std::max(result, -1)));
    if (result >= 0) continue;
    auto pause = ring_.sleep(kPause);
    [[maybe_unused]] const Status paused = co_await pause;
  }
  {
    auto stopping = acceptor.stop();
    co_await stopping;
  }
  --under_way_;
  finish_if_done();
}

// `result`: 0, or why there is no socket.
void NbdQueue::admit(int32_t result, Descriptor socket) {
  if (result == 0 && !is_allowed(socket)) return;
  const bool taken = result == 0 && setup_.newcomers->offer(std::move(socket));
  if (!taken && !complained_ && !stopping_) {
    log().warn("no more NBD clients can be accepted: {}",
               result < 0 ? std::strerror(-result) : "there are too many");
  }
  complained_ = !taken;
}

bool NbdQueue::is_allowed(const Descriptor& socket) const {
  sockaddr_storage peer{};
  socklen_t length = sizeof(peer);
  const bool is_known =
      getpeername(socket.number(), reinterpret_cast<sockaddr*>(&peer), &length) == 0;
  return is_known && setup_.allowed.allows(peer);
}

void NbdQueue::welcome(Descriptor socket) {
  if (stopping_) {
    setup_.newcomers->leave(*this);
    return finish_if_done();
  }
  if (pausing_) {
    outside_.push_back(std::move(socket));
    return tell_if_paused();
  }
  set_option(socket.number(), IPPROTO_TCP, TCP_NODELAY);
  set_option(socket.number(), SOL_SOCKET, SO_KEEPALIVE);
  if (is_local(socket.number())) {  // TCP sizes its buffers itself
    set_option(socket.number(), SOL_SOCKET, SO_SNDBUF, kLocalSendBytes);  // what all may have
    set_option(socket.number(), SOL_SOCKET, SO_SNDBUFFORCE, kLocalSendBytes);
  }
  if (shaking_hands_.size() >= kHandshakesMax) {
    log().info("too many NBD clients do not finish their handshake: the oldest one is dropped");
    shaking_hands_.front()->give_up();
    shaking_hands_.erase(shaking_hands_.begin());
  }
  Connection& connection = add(std::move(socket));
  shaking_hands_.push_back(&connection);
  connection.begin();
}

Connection& NbdQueue::add(Descriptor socket) {
  ConnectionListener& listener = *this;
  connections_.push_back(
      std::make_unique<Connection>(Connection::Setup{.queue = setup_.id,
                                                     .depth = setup_.depth,
                                                     .ring = ring_,
                                                     .exports = exports_,
                                                     .pipes = pipes_,
                                                     .counters = counters_,
                                                     .tls = setup_.tls,
                                                     .credentials = setup_.credentials},
                                   std::move(socket), listener));
  return *connections_.back();
}

void NbdQueue::handshake_ended(Connection& connection) {
  std::erase(shaking_hands_, &connection);
  if (connection.has_agreed()) setup_.newcomers->has_agreed();
}

void NbdQueue::ended(Connection& connection) {
  setup_.newcomers->leave(*this);
  std::erase_if(connections_, [&](const auto& each) { return each.get() == &connection; });
  tell_if_paused();
  finish_if_done();
}

void NbdQueue::stop() {
  if (stopping_) return;
  stopping_ = true;
  setup_.newcomers->close(*this);
  for (const auto& entrance : entrances_) {
    entrance->acceptor.interrupt();
    wake(ring_.ready(), entrance->resting);
  }
  if (patience_ != nullptr) ring_.cancel(*std::exchange(patience_, nullptr));
  turn_away();
  const bool departed = setup_.newcomers->departed();
  for (const auto& connection : connections_) {
    if (departed) {
      connection->leave();
    } else {
      connection->stop();
    }
  }
  if (!connections_.empty()) bound_the_end();
  finish_if_done();
}

// Clients that do not take their replies are given up.
Service NbdQueue::bound_the_end() {
  ++under_way_;
  {
    auto time = ring_.sleep(kFarewellTime);
    farewell_ = &time;
    [[maybe_unused]] const Status over = co_await time;
    farewell_ = nullptr;
  }
  for (const auto& connection : connections_) connection->give_up();
  --under_way_;
  finish_if_done();
}

void NbdQueue::finish_if_done() {
  if (!stopping_ || !connections_.empty() || setup_.newcomers->expects_more(*this)) return;
  if (farewell_ != nullptr) ring_.cancel(*std::exchange(farewell_, nullptr));
  if (under_way_ == 0) finish();
}

void NbdQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (const auto& connection : connections_) connection->list_in_flight(found);
}

}  // namespace sluice::nbd
