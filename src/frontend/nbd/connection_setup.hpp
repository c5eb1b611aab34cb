// ConnectionSetup: what a connection needs of its queue; ConnectionListener: what it tells it.
#pragma once

#include <cstdint>
#include <memory>

#include "frontend/nbd/offered_exports.hpp"
#include "reactor/queue_counters.hpp"
#include "ring/ring.hpp"
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
  QueueCounters& counters;
  TlsPolicy tls = TlsPolicy::none;
  std::shared_ptr<const tls::Credentials> credentials{};  // null: no TLS
};

}  // namespace sluice::nbd
