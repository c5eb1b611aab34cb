// SocketAddress: where a Unix socket lies in the file system, however long its path is. The kernel
// takes 107 bytes; a longer one is reached through a descriptor of its directory.
//
// A value of the control path; it lives for as long as the address is in use.
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

}  // namespace sluice
