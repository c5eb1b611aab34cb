// ListenAddress: where an NBD export waits for its clients.
//
// Plain values, and system calls for the control path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "nbd/uri.hpp"

namespace sluice::nbd {

// unix:PATH, unix:@ABSTRACT, tcp:HOST:PORT, tcp:[IPv6]:PORT, vsock:PORT.
struct ListenAddress {
  Transport transport = Transport::tcp;
  std::string socket{};  // unix: a path, or a NUL and an abstract name
  std::string host{};    // tcp
  uint32_t port = 0;     // tcp, vsock; tcp: 0 for any
  // Other places than parse() knows, for listen_on().
  int passed = -1;          // the socket that listens there already; -1: none
  bool is_private = false;  // unix: in a directory that is made for it

  // EINVAL.
  static Result<ListenAddress> parse(std::string_view text);
  std::string text() const;  // as parse() reads it
  bool has_file() const { return transport == Transport::unix_socket && socket.front() != '\0'; }
  // The URI for a client on this machine.
  std::string uri(std::string_view export_name, bool tls) const;
};

// A listening socket, and the socket file that was made for it, if any: of mode 0600.
struct Listener {
  Descriptor socket;
  std::string file{};      // its path
  uint64_t inode = 0;      // by which it is known from a later file of this name
  Descriptor directory{};  // of the file: a server leaves the mounts that its caller has

  // Removes the file, once, unless another one has its name; and its directory, if that is private.
  void remove_file();
};

// The port or place that was chosen is noted in `address`, and a passed socket taken from it.
// EADDRINUSE and others, with advice.
Result<Listener> listen_on(ListenAddress& address);

// True if this socket file is there.
bool is_socket_file(const std::string& path, uint64_t inode);
// The same, and nobody listens: its server has ended.
bool is_dead_socket(const std::string& path, uint64_t inode);

}  // namespace sluice::nbd
