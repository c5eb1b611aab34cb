// ConnectionSetup: what a connection needs of its queue; ConnectionListener: what it tells it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "frontend/nbd/offered_exports.hpp"
#include "reactor/queue_counters.hpp"
#include "ring/ring.hpp"
#include "ring/sockets.hpp"
#include "tls/credentials.hpp"

namespace sluice::nbd {

class Connection;

// Called on the thread of its ring.
class ConnectionListener {
 public:
  // The handshake is over, well or not. Once.
  virtual void handshake_ended(Connection& connection) = 0;
  // It was told to pause, and nothing is under way on its socket.
  virtual void paused(Connection& connection) = 0;
  // The connection has ended, and may be destroyed.
  virtual void ended(Connection& connection) = 0;

 protected:
  ~ConnectionListener() = default;
};

struct ConnectionSetup {
  uint16_t queue = 0;
  uint16_t depth = 0;  // requests at a time
  Ring& ring;
  const OfferedExports& exports;
  PipeStock& pipes;
  QueueCounters& counters;
  TlsPolicy tls = TlsPolicy::none;
  std::shared_ptr<const tls::Credentials> credentials{};  // null: no TLS
};

// Tells whether a client takes its replies and sends its requests, however slowly.
struct ConnectionProgress {
  uint64_t pieces = 0;  // of payloads received, and batches of replies sent
  const sockets::GatherSend* sending = nullptr;  // under way
  uint64_t seen = 0;
  bool late = false;  // a pause waits for the client

  // True if anything has moved since the last call. `piped_bytes`: those that the pipe still has.
  bool has_moved(uint32_t piped_bytes) {
    const uint64_t left = sending != nullptr ? sending->left_bytes() : 0;
    const uint64_t now = (pieces << 40) - left - piped_bytes;
    return std::exchange(seen, now) != now;
  }
};

}  // namespace sluice::nbd
