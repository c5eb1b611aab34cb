// ClientState: what the next server must know of a client to go on with its connection.
//
// Plain values of the control path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/page_pool.hpp"
#include "nbd/handshake.hpp"
#include "nbd/protocol.hpp"
#include "nbd/server_handshake.hpp"

namespace sluice::nbd {

struct ClientState {
  bool is_new = false;  // it has only connected: the rest is not known yet
  uint16_t queue = 0;   // that has served it
  // It has been greeted, and has not agreed yet: nothing of the next part is known.
  std::optional<HandshakeProgress> handshake{};
  // --- Agreed on in the handshake.
  std::string export_name{};
  uint64_t size = 0;   // in bytes, of the export, as the client was told
  uint16_t flags = 0;  // TransmissionFlag, of the export
  Headers headers = Headers::simple;
  std::vector<MetaContext> contexts{};
  // ---
  // Received and not yet used: the next request, or message of the handshake, begins here.
  std::vector<std::byte> unread{};
};

// A client that has been handed over, with all that its connection needs to go on.
struct HandedClient {
  ClientState state{};
  Descriptor socket{};
  std::unique_ptr<PagePool> pool{};  // null: it has not agreed yet
};

}  // namespace sluice::nbd
