// SocketAddress: the address of a Unix socket with a path of any length. The kernel takes 107
// bytes; a longer path is reached through a descriptor of its directory.
//
// A value for the control path; it must outlive the use of the address.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

class SocketAddress {
 public:
  static Result<SocketAddress> make(const std::string& path);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
  static constexpr socklen_t size() { return sizeof(sockaddr_un); }

 private:
  SocketAddress() = default;

  Descriptor directory_;
  sockaddr_un address_{};
};

// Tries to connect, without blocking: 0, or the errno of connect().
int try_to_connect(const std::string& path);

}  // namespace sluice
