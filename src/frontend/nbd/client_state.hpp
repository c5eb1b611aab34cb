// ClientState: what the next server must know of a client to go on with its connection.
//
// Plain values of the control path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/page_pool.hpp"
#include "nbd/handshake.hpp"
#include "nbd/protocol.hpp"

namespace sluice::nbd {

struct ClientState {
  bool is_new = false;  // it has only connected: the rest is not known yet
  uint16_t queue = 0;   // that has served it
  // --- Agreed on in the handshake.
  std::string export_name{};
  uint64_t size = 0;   // in bytes, of the export, as the client was told
  uint16_t flags = 0;  // TransmissionFlag, of the export
  Headers headers = Headers::simple;
  std::vector<MetaContext> contexts{};
  // ---
  std::vector<std::byte> unread{};  // received and not yet used: the next request begins here
};

// A client that has been handed over, with all that its connection needs to go on.
struct HandedClient {
  ClientState state{};
  Descriptor socket{};
  std::unique_ptr<PagePool> pool{};  // null for a new one
};

}  // namespace sluice::nbd
