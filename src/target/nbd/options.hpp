// The options of target nbd: where its servers are, and how long to wait for them.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "nbd/uri.hpp"
#include "spec/spec.hpp"
#include "tls/credentials.hpp"

namespace sluice::nbd::client {

// One address of a server.
struct Address {
  sockaddr_storage name{};
  socklen_t length = 0;
  bool tcp = false;
};

// A server with all its addresses. All servers of a target have the same export.
struct Server {
  Uri uri;
  std::string text;  // the URI, for messages
  std::vector<Address> addresses{};
  std::shared_ptr<const tls::Credentials> credentials{};  // null: no TLS
};

struct Options {
  std::vector<Server> servers{};
  uint32_t connections = 1;              // of each queue, if the server allows several
  std::chrono::nanoseconds reconnect{};  // requests wait that long for a lost server
  std::chrono::nanoseconds timeout{};    // for the answer to one request
  std::chrono::nanoseconds fence{};      // before requests are repeated
  bool trust_process = false;            // only the server's process can die, not its machine
  bool send_zc = false;
  bool to_the_byte = false;  // see OpenContext
};

// EINVAL: no server, or several ways to name one; a URI that cannot be parsed, or has a relative
// path; a duration out of its range.
Result<Options> read_options(const Spec& spec);

// Looks all servers up. `directories`: for each server with a socket file, in order, a descriptor
// of its directory, so that another mount namespace finds the same socket; -1: none. EHOSTUNREACH:
// a name cannot be resolved.
Result<void> resolve(Options& options, const std::vector<int>& directories);

// Reads the certificates and keys of the servers that are reached by TLS. ENOENT, EINVAL ...
Result<void> load_credentials(Options& options);

// The directory of the server's socket file; empty: it has none.
std::string directory_of_socket(const Server& server);

}  // namespace sluice::nbd::client
