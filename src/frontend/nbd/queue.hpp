// NbdQueue: the NBD clients that one reactor serves.
//
// The first queue of a server accepts all connections, and gives each to the queue that has the
// fewest (a ring that waits for a listening socket keeps all others from seeing it). A queue owns
// its connections until they end. Handshakes are limited in number and time: when too many clients
// do not get on with theirs, the oldest of them is dropped.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "frontend/nbd/access_list.hpp"
#include "frontend/nbd/connection.hpp"
#include "frontend/nbd/newcomers.hpp"
#include "frontend/nbd/offered_exports.hpp"
#include "reactor/queue.hpp"
#include "ring/acceptor.hpp"

namespace sluice::nbd {

class NbdQueue final : public Queue, private ConnectionListener {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;            // of each connection
    std::vector<int> listeners{};  // to accept from; they outlive the queue
    OfferedExports::Setup exports{};
    Newcomers* newcomers = nullptr;
    AccessList allowed{};
    TlsPolicy tls = TlsPolicy::none;
    std::shared_ptr<const tls::Credentials> credentials{};
  };

  NbdQueue(Setup setup, Ring& ring, QueueListener& listener);
  ~NbdQueue() override;

  Result<void> start(int device) override;
  // Accepts no more clients. Those that it has get the replies to their requests, for as long as
  // they take them within a few seconds.
  void stop() override;
  // Clients that connect wait for resume(), or for another server. Those that keep the pause
  // waiting are disconnected after a few seconds.
  void pause() override;
  void resume() override;
  void list_in_flight(std::vector<InFlight>& found) const override;

  uint16_t id() const { return setup_.id; }
  // On its thread. From Newcomers.
  void welcome(Descriptor socket);
  void go_on(std::span<const int> listeners, std::vector<HandedClient> clients);

  // In a pause; only a reading call, which any one thread may make. Adds the clients, and their
  // sockets, which stay its own.
  void describe(std::vector<ClientState>& clients, std::vector<int>& sockets) const;

 private:
  // A listening socket.
  struct Entrance {
    Entrance(Ring& ring, int listener);

    Acceptor acceptor;
    std::coroutine_handle<> resting{};
    bool at_rest = false;  // in a pause
  };

  void open_entrances(std::span<const int> listeners);
  Service accept(Entrance& entrance);
  void admit(int32_t result, Descriptor socket);
  bool is_allowed(const Descriptor& socket) const;
  Connection& add(Descriptor socket);
  Service bound_the_end();
  Service bound_the_pause();
  void tell_if_paused();
  void hurry();
  void turn_away();
  void handshake_ended(Connection& connection) override;
  void paused(Connection& connection) override;
  void ended(Connection& connection) override;
  void finish_if_done();

  const Setup setup_;
  Ring& ring_;
  const OfferedExports exports_;
  PipeStock pipes_;
  std::vector<std::unique_ptr<Entrance>> entrances_;
  size_t under_way_ = 0;     // coroutines of this queue itself
  bool complained_ = false;  // that no client can be accepted
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> shaking_hands_;  // the oldest first
  Operation* farewell_ = nullptr;           // the time that clients have at the end
  bool stopping_ = false;

  // --- Of a pause.
  std::vector<Descriptor> outside_;  // clients that are not welcomed yet
  size_t resting_ = 0;               // connections
  Operation* patience_ = nullptr;    // the time that clients have
  bool is_bounded_ = false;          // bound_the_pause() runs
  bool pausing_ = false;
  bool told_ = false;
};

}  // namespace sluice::nbd
