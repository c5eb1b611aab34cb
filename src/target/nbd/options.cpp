#include "target/nbd/options.hpp"

#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

#include "spec/duration.hpp"
#include "spec/shown.hpp"

namespace sluice::nbd::client {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

struct Range {
  std::string_view option;
  nanoseconds fallback, least, most;
};
constexpr Range kReconnect{"reconnect", 60s, 0s, 24h};
constexpr Range kTimeout{"timeout", 30s, 100ms, 1h};
constexpr Range kFence{"fence", 0s, 0s, 1h};

Result<nanoseconds> read_duration(const Spec& spec, const Range& range) {
  if (!spec.has(range.option)) return range.fallback;
  const std::string text = spec.text(range.option);
  const auto duration = parse_duration(text);
  if (duration && *duration >= range.least && *duration <= range.most) return *duration;
  return sluice::fail(
      EINVAL,
      fmt::format("nbd: {} is {}; it needs a time from {}s to {}s with its unit, such as 500ms or "
                  "30s",
                  range.option, shown(text), std::chrono::duration<double>(range.least).count(),
                  std::chrono::duration_cast<std::chrono::seconds>(range.most).count()));
}

// The words of ublksrv: --host HOST [--port PORT] | --unix PATH, and --export_name NAME.
Result<Uri> uri_of_words(const Spec& spec) {
  Uri uri{.export_name = spec.text("export_name")};
  if (spec.has("unix")) {
    uri.transport = Transport::unix_socket;
    uri.socket = spec.text("unix");
  } else {
    uri.host = spec.text("host");
    uri.port = static_cast<uint32_t>(spec.number("port", kDefaultPort));
  }
  return parse_uri(to_text(uri));  // with its checks
}

Result<std::vector<Uri>> read_uris(const Spec& spec) {
  std::vector<Uri> uris;
  const int ways = int{spec.has("uri")} + int{spec.has("host")} + int{spec.has("unix")};
  if (ways != 1) {
    return sluice::fail(EINVAL,
                        fmt::format("nbd: {}: give one of a URI, such as nbd://HOST/EXPORT, "
                                    "host=HOST and unix=PATH",
                                    ways == 0 ? "it has no server" : "which server is meant"));
  }
  if (spec.has("port") && !spec.has("host")) {
    return sluice::fail(EINVAL, "nbd: port goes with host=HOST: write the port into the URI");
  }
  if (spec.has("export_name") && spec.has("uri")) {
    return sluice::fail(EINVAL,
                        "nbd: export_name goes with host=HOST or unix=PATH: write it into "
                        "the URI");
  }
  if (!spec.has("uri")) {
    auto uri = uri_of_words(spec);
    if (!uri) return std::unexpected(uri.error());
    uris.push_back(std::move(*uri));
    return uris;
  }
  const std::string text = spec.text("uri");
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    auto uri = parse_uri(std::string_view(text).substr(begin, end - begin));
    if (!uri) return std::unexpected(uri.error());
    uris.push_back(std::move(*uri));
    begin = end + 1;
  }
  return uris;
}

std::unexpected<Error> refuse(const Uri& uri, std::string_view why) {
  return sluice::fail(EINVAL, fmt::format("the NBD URI {} {}", shown(to_text(uri)), why));
}

bool uses_psk(const Uri& uri) {
  return uri.tls_kind ? *uri.tls_kind == TlsKind::psk : !uri.tls_psk_file.empty();
}

// A name to verify, without which any holder of a certificate could be the server.
Result<void> check_tls(const Uri& uri) {
  if (uri.tls_kind == TlsKind::anonymous) {
    return refuse(uri,
                  "asks for anonymous TLS, which hides nothing from a man in the middle: use "
                  "tls-type=psk or x509");
  }
  if (uses_psk(uri)) {
    if (uri.tls_psk_file.empty()) return refuse(uri, "has no key: add tls-psk-file=FILE");
    if (!uri.tls_certificates.empty()) {
      return refuse(uri, "has both a key and certificates: leave one out");
    }
  } else if (!uri.tls_psk_file.empty()) {
    return refuse(uri, "has a key, which tls-type=x509 does not use: leave one of them out");
  } else if (uri.tls_verify_peer && uri.transport != Transport::tcp && uri.tls_hostname.empty()) {
    return refuse(uri,
                  "does not say which name the server's certificate has: add "
                  "tls-hostname=NAME, or tls-verify-peer=0");
  }
  for (const std::string& path : {uri.tls_psk_file, uri.tls_certificates}) {
    if (!path.empty() && path[0] != '/') {
      return refuse(uri, fmt::format("has the relative path {}: give it from / on", shown(path)));
    }
  }
  return {};
}

Result<void> check(const Uri& uri) {
  if (uri.transport == Transport::unix_socket && uri.socket[0] != '/' && uri.socket[0] != '\0') {
    return refuse(uri, "has a relative socket path: give the path from / on");
  }
  return uri.tls ? check_tls(uri) : Result<void>();
}

Address address_of(const void* name, size_t length, bool tcp) {
  Address address{.length = static_cast<socklen_t>(length), .tcp = tcp};
  std::memcpy(&address.name, name, length);
  return address;
}

Address socket_address(const Uri& uri, int directory) {
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  std::string path = uri.socket;
  if (directory >= 0) {
    const std::string below =
        fmt::format("/proc/self/fd/{}{}", directory, path.substr(path.rfind('/')));
    if (below.size() < sizeof(name.sun_path)) path = below;
  }
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const size_t used = path[0] == '\0' ? path.size() : path.size() + 1;
  return address_of(&name, offsetof(sockaddr_un, sun_path) + used, false);
}

Address vsock_address(const Uri& uri) {
  sockaddr_vm name{};
  name.svm_family = AF_VSOCK;
  name.svm_cid = uri.cid;
  name.svm_port = uri.port;
  return address_of(&name, sizeof(name), false);
}

Result<std::vector<Address>> tcp_addresses(const Server& server) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(server.uri.port);
  if (const int error = getaddrinfo(server.uri.host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return sluice::fail(EHOSTUNREACH,
                        fmt::format("nbd: cannot find host {} of {}: {}", shown(server.uri.host),
                                    server.text, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> guard(found, freeaddrinfo);
  std::vector<Address> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    addresses.push_back(address_of(each->ai_addr, each->ai_addrlen, true));
  }
  return addresses;
}

}  // namespace

Result<Options> read_options(const Spec& spec) {
  const auto uris = read_uris(spec);
  if (!uris) return std::unexpected(uris.error());
  Options options{.connections = static_cast<uint32_t>(spec.number("connections", 1)),
                  .send_zc = spec.flag("send_zc")};
  for (const Uri& uri : *uris) {
    if (auto checked = check(uri); !checked) return std::unexpected(checked.error());
    if (options.send_zc && uri.transport != Transport::tcp) {
      return sluice::fail(EINVAL, fmt::format("nbd: send_zc is for TCP, and {} is none: leave it "
                                              "out",
                                              to_text(uri)));
    }
    options.servers.push_back({.uri = uri, .text = to_text(uri)});
  }
  for (const Server& server : options.servers) {
    if (server.uri.tls == options.servers.front().uri.tls) continue;
    return sluice::fail(EINVAL,
                        "nbd: TLS for some of the servers protects nothing, because the "
                        "others may be used: write nbds:// for all, or for none");
  }
  const std::string trust = spec.text("reconnect-trust");
  options.trust_process = trust == "process";
  if (!options.trust_process && !trust.empty() && trust != "nothing") {
    return sluice::fail(EINVAL, fmt::format("nbd: reconnect-trust is {}; it can be process or "
                                            "nothing",
                                            shown(trust)));
  }
  const auto reconnect = read_duration(spec, kReconnect);
  if (!reconnect) return std::unexpected(reconnect.error());
  const auto timeout = read_duration(spec, kTimeout);
  if (!timeout) return std::unexpected(timeout.error());
  const auto fence = read_duration(spec, kFence);
  if (!fence) return std::unexpected(fence.error());
  options.reconnect = *reconnect;
  options.timeout = *timeout;
  options.fence = *fence;
  return options;
}

Result<void> load_credentials(Options& options) {
  for (Server& server : options.servers) {
    const Uri& uri = server.uri;
    if (!uri.tls) continue;
    tls::ClientFiles files{.certificates = uri.tls_certificates,
                           .psk_name = uri.user,
                           .verify_peer = uri.tls_verify_peer};
    files.peer_name = uri.tls_hostname.empty() ? uri.host : uri.tls_hostname;
    if (uses_psk(uri)) files.psk_file = uri.tls_psk_file;
    auto credentials = tls::Credentials::of_client(files);
    if (!credentials) return std::unexpected(credentials.error());
    server.credentials = std::move(*credentials);
  }
  return {};
}

std::string directory_of_socket(const Server& server) {
  if (server.uri.transport != Transport::unix_socket || server.uri.socket[0] != '/') return {};
  return server.uri.socket.substr(0, server.uri.socket.rfind('/') + 1);
}

Result<void> resolve(Options& options, const std::vector<int>& directories) {
  size_t directory = 0;
  for (Server& server : options.servers) {
    switch (server.uri.transport) {
      case Transport::unix_socket:
        server.addresses = {socket_address(
            server.uri, directory_of_socket(server).empty() ? -1 : directories.at(directory++))};
        break;
      case Transport::vsock:
        server.addresses = {vsock_address(server.uri)};
        break;
      case Transport::tcp: {
        auto found = tcp_addresses(server);
        if (!found) return std::unexpected(found.error());
        server.addresses = std::move(*found);
      }
    }
  }
  return {};
}

}  // namespace sluice::nbd::client
