// Session: an open connection to an NBD server after its handshake. Dialler: makes one.
//
//   Dialler dialler(ring);
//   Task dialling = dialler.dial(request, server, time);
//   if ((co_await dialling).ok()) Session session = std::move(dialler.session);
//
// Used by one ring's thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "core/descriptor.hpp"
#include "core/task.hpp"
#include "nbd/client_handshake.hpp"
#include "ring/ring.hpp"
#include "ring/timeout.hpp"
#include "target/nbd/options.hpp"
#include "tls/stream.hpp"

namespace sluice::nbd::client {

struct Session {
  Descriptor socket{};
  std::unique_ptr<tls::Stream> tls{};  // on the socket; null: plaintext
  ClientHandshake::Agreement agreed{};
  size_t server = 0;  // of Options::servers
  bool tcp = false;

  bool valid() const { return socket.valid(); }
  File file() const { return {.number = socket.number()}; }
  // Says goodbye, if that is possible without waiting, and closes. No request is in flight.
  void end();
};

class Dialler {
 public:
  explicit Dialler(Ring& ring) : ring_(ring) {}

  // Tries the addresses of the server in their order, within `time`; one that does not answer
  // leaves the others their parts of it. Errors: ETIMEDOUT, ECANCELED, ECONNREFUSED, EPROTO ... of
  // the last address; see `why`.
  Task dial(Request& own, const Server& server, std::chrono::nanoseconds time);
  // Makes the dial() that is under way, if any, end with ECANCELED.
  void cancel();

  Session session{};  // of the last dial(), if it succeeded
  std::string why{};  // otherwise, of each address; goes on after "cannot use SERVER: "

 private:
  Task dial_one(Request& own, const Server& server, const Address& address,
                std::chrono::nanoseconds time);
  Task connect(Request& own, const Address& address, Timeout& limit);
  Task await_connected(Request& own, Timeout& limit);
  Task shake_hands(Request& own, const Server& server, Timeout& limit);
  Task start_tls(Request& own, const Server& server, Timeout& limit);
  Task part(Request& own);
  Task send(Request& own, std::span<std::byte> bytes, Timeout& limit);
  Task receive(Request& own, std::span<std::byte> room, size_t& received, Timeout& limit);
  Ring& ring_;
  Completion* waiting_for_ = nullptr;  // what cancel() cancels
  bool cancelled_ = false;
};

}  // namespace sluice::nbd::client
