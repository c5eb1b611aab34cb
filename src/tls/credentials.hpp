// Credentials: what one end of TLS shows of itself and demands of the other: certificates (x509),
// or a key that both have (PSK).
//
// Made on the control path, from files; immutable afterwards, so that any thread may start streams
// with them. Errors name the file, and never show what is in it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/error.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace sluice::tls {

// The names of the files are those of libnbd, nbdkit and QEMU.
struct ClientFiles {
  std::string certificates{};  // a directory: ca-cert.pem, and client-cert.pem with client-key.pem
                               // if the server wants them; empty: the system's authorities
  std::string psk_file{};      // lines of NAME:KEY, the key in hexadecimal; instead of certificates
  std::string psk_name{};      // the line to use; empty: the only one
  std::string peer_name{};     // a host name or IP address in the server's certificate
  bool verify_peer = true;     // its certificate and name
};

struct ServerFiles {
  std::string certificates{};  // server-cert.pem, server-key.pem; ca-cert.pem to verify clients
  std::string psk_file{};
  bool verify_peer = false;  // clients need a certificate of that authority
};

class Credentials {
 public:
  // ENOENT, EACCES ...: a file cannot be read; EINVAL: it has something else, or there is no name
  // to verify; ESRCH: no key of that name.
  static Result<std::shared_ptr<const Credentials>> of_client(const ClientFiles& files);
  static Result<std::shared_ptr<const Credentials>> of_server(const ServerFiles& files);
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;
  ~Credentials();

  bool is_server() const { return is_server_; }
  // For Stream: a new SSL on this socket; null: out of memory.
  ssl_st* start(int socket) const;
  // False: the peer has shown a certificate where only a key would do.
  bool accepts(const ssl_st* ssl) const;

  struct Keys;

 private:
  Credentials();
  Result<void> use_certificates(const std::string& directory, std::string_view role, bool needed);
  Result<void> trust(const std::string& directory, bool needed);
  Result<void> use_keys(const std::string& file, const std::string& name, bool is_server);

  ssl_ctx_st* context_;
  std::unique_ptr<Keys> keys_;
  std::string peer_name_;
  bool is_server_ = false;
};

}  // namespace sluice::tls
