// ExportState: everything that another process needs to go on with an NBD export, and its form in a
// Handover: JSON, and descriptors for what does not fit there. Control path only.
//
// docs/formats/handover.md describes the form.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/nbd/client_state.hpp"
#include "frontend/nbd/listen_address.hpp"
#include "nbd/server_handshake.hpp"
#include "tls/credentials.hpp"

namespace sluice::nbd {

struct ListenerState {
  ListenAddress address;
  uint64_t inode = 0;  // of the socket file, see Listener; 0: it has none of its own
};

// What clients are told of a disk now.
struct PromisedExport {
  std::string name{};
  uint64_t size = 0;   // in bytes
  uint16_t flags = 0;  // TransmissionFlag: kReadOnly and kSendTrim
};

struct ExportState {
  std::vector<ListenerState> listeners{};
  std::string name{};
  std::string description{};
  uint16_t queues = 1;
  uint16_t depth = 128;
  std::string allowed{};              // see AccessList::parse()
  std::optional<uint64_t> clients{};  // at a time; nullopt: no limit
  TlsPolicy tls = TlsPolicy::none;
  tls::ServerFiles tls_files{};
  bool until_deserted = false;
  std::vector<PromisedExport> exports{};
  // Only once the old server has let go.
  bool has_agreed = false;  // a client has chosen an export, then or before
  std::vector<ClientState> connections{};
};

// Without the bytes of `unread`, only with their number.
std::string to_json(const ExportState& state);
// Accepts any text. EINVAL: to_json() of no version up to ours has written it; EOPNOTSUPP: a newer
// version has.
Result<ExportState> export_state_from_json(std::string_view text);

// A file in memory with the unread bytes of all connections, one after the other.
Result<Descriptor> keep_unread(std::span<const ClientState> connections);
// The reverse, for a state from JSON. EINVAL: the file is shorter.
Result<void> restore_unread(const Descriptor& file, std::span<ClientState> connections);

// Any number of descriptors in one: a socket in which they wait. They stay the caller's.
Result<Descriptor> pack(std::span<const int> descriptors);
// The reverse. EMFILE: there are fewer than `count`; EINVAL: there are more.
Result<std::vector<Descriptor>> unpack(Descriptor packed, size_t count);

}  // namespace sluice::nbd
