// Uri: where an NBD export is, and how to get there: doc/uri.md of NetworkBlockDevice/nbd, with
// libnbd's vsock and the parameters that name its files of keys.
//
// Plain values; pure functions, safe on any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "nbd/protocol.hpp"

namespace sluice::nbd {

enum class Transport : uint8_t { tcp, unix_socket, vsock };

enum class TlsKind : uint8_t { x509, psk, anonymous };

struct Uri {
  Transport transport = Transport::tcp;
  bool tls = false;  // required

  std::string host{};            // tcp: a name or an address, an IPv6 one without its brackets
  uint32_t port = kDefaultPort;  // tcp, vsock
  uint32_t cid = 2;              // vsock: the host
  std::string socket{};          // unix_socket: a path, or a NUL and an abstract name

  std::string export_name{};
  std::string user{};  // the name of the PSK

  // Parameters; only with TLS.
  std::optional<TlsKind> tls_kind{};
  std::string tls_hostname{};  // in the server's certificate; empty: `host`
  bool tls_verify_peer = true;
  std::string tls_certificates{};  // a directory
  std::string tls_psk_file{};
};

// True for the beginning "SCHEME://" of such a URI. Other text may be the name of a file.
bool is_uri(std::string_view text);

// EINVAL, with the offending part.
Result<Uri> parse_uri(std::string_view text);

// The URI again, without parameters that have their default. parse_uri() reads it as the same.
std::string to_text(const Uri& uri);

}  // namespace sluice::nbd
