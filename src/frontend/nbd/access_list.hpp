// AccessList: the networks whose clients are served.
//
// Plain values, safe on any thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace sluice::nbd {

class AccessList {
 public:
  // Each line is an IPv4 or IPv6 address, or a network ADDRESS/BITS. EINVAL, with the line.
  static Result<AccessList> parse(std::string_view lines);

  const std::string& text() const { return text_; }  // as parse() has read it

  // True for an empty list, and for peers without an IP address: a socket file or vsock. An IPv4
  // address counts as such in its IPv6 form, too (::ffff:10.0.0.1).
  bool allows(const sockaddr_storage& peer) const;

 private:
  using Bytes = std::array<uint8_t, 16>;  // of an IPv6 address
  struct Network {
    Bytes address{};
    unsigned bits = 128;
  };

  static Result<Network> parse_network(std::string_view text);

  std::string text_;
  std::vector<Network> networks_;
};

}  // namespace sluice::nbd
