// NbdQueue: a pause, and what follows it, here or in another server.
#include <algorithm>
#include <chrono>
#include <utility>

#include "core/idle.hpp"
#include "frontend/nbd/queue.hpp"

namespace sluice::nbd {
namespace {

// A client that a pause waits for all that time, twice in succession, is disconnected.
constexpr std::chrono::milliseconds kPatience{1500};

}  // namespace

void NbdQueue::pause() {
  if (stopping_ || pausing_) return;
  pausing_ = true;
  told_ = false;
  resting_ = 0;
  for (const auto& entrance : entrances_) entrance->acceptor.interrupt();
  for (const auto& connection : connections_) connection->pause();
  tell_if_paused();
  if (!told_ && !is_bounded_) bound_the_pause();
}

// One tells the reactor once for each pause. Until the entrances are closed, at least this queue
// takes the clients that come through them.
void NbdQueue::tell_if_paused() {
  if (!pausing_ || told_ || stopping_) return;
  if (std::ranges::any_of(entrances_, [](const auto& each) { return !each->at_rest; })) return;
  setup_.newcomers->close(*this);
  if (resting_ < connections_.size() || setup_.newcomers->expects_more(*this)) return;
  told_ = true;
  if (patience_ != nullptr) ring_.cancel(*std::exchange(patience_, nullptr));
  listener().paused();
}

Service NbdQueue::bound_the_pause() {
  ++under_way_;
  is_bounded_ = true;
  while (pausing_ && !told_ && !stopping_) {
    Status over = kOk;
    {
      auto time = ring_.sleep(kPatience);
      patience_ = &time;
      over = co_await time;
      patience_ = nullptr;
    }
    if (over.ok() && pausing_) hurry();
  }
  is_bounded_ = false;
  --under_way_;
  finish_if_done();
}

void NbdQueue::hurry() {
  for (const auto& connection : connections_) connection->hurry();
}

void NbdQueue::paused(Connection& /*connection*/) {
  ++resting_;
  tell_if_paused();
}

void NbdQueue::resume() {
  if (!pausing_) return;
  pausing_ = false;
  setup_.newcomers->open(*this);
  for (const auto& connection : connections_) connection->resume();
  for (const auto& entrance : entrances_) wake(ring_.ready(), entrance->resting);
  for (Descriptor& socket : std::exchange(outside_, {})) welcome(std::move(socket));
}

void NbdQueue::describe(std::vector<ClientState>& clients, std::vector<int>& sockets) const {
  for (const auto& connection : connections_) {
    clients.push_back(connection->state());
    sockets.push_back(connection->socket());
  }
  for (const Descriptor& socket : outside_) {
    clients.push_back({.is_new = true, .queue = setup_.id});
    sockets.push_back(socket.number());
  }
}

void NbdQueue::go_on(std::span<const int> listeners, std::vector<HandedClient> clients) {
  for (HandedClient& client : clients) {
    if (stopping_ || client.state.is_new) {
      welcome(std::move(client.socket));
    } else {
      Connection& connection = add(std::move(client.socket));
      if (client.state.handshake) shaking_hands_.push_back(&connection);
      connection.go_on(std::move(client));
    }
  }
  if (!stopping_) open_entrances(listeners);
}

// Clients that have only connected, at the end.
void NbdQueue::turn_away() {
  for (size_t i = 0; i < outside_.size(); ++i) setup_.newcomers->leave(*this);
  outside_.clear();
}

}  // namespace sluice::nbd
