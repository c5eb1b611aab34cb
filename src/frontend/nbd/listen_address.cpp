#include "frontend/nbd/listen_address.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "frontend/nbd/private_socket.hpp"
#include "spec/shown.hpp"

namespace sluice::nbd {
namespace {

constexpr int kBacklog = 128;
constexpr size_t kPathMax = sizeof(sockaddr_un::sun_path) - 1;

// 0: there is no socket of this name.
uint64_t inode_of(const std::string& path, int directory = AT_FDCWD) {
  struct stat status{};
  const bool is_there = fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  return is_there && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

std::string name_in_directory(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Where there is no '/', npos + 1 is 0.
Descriptor open_directory_of(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  return Descriptor(
      open(directory.empty() ? "." : directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

std::unexpected<Error> bad(std::string_view text, std::string_view why) {
  return fail(EINVAL, fmt::format("--listen {}: {}", shown(text), why));
}

std::optional<uint32_t> port_of(std::string_view text, uint32_t most) {
  uint32_t port = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole && !text.empty() && port <= most ? std::optional(port) : std::nullopt;
}

std::unexpected<Error> cannot_listen(const ListenAddress& address, int cause) {
  const char* advice = "";
  if (cause == EADDRINUSE && address.has_file()) advice = "; remove the file if nobody uses it";
  if (cause == EADDRINUSE && !address.has_file()) advice = "; choose another address";
  return fail(cause, fmt::format("cannot listen on {}: {}{}", address.text(), std::strerror(cause),
                                 advice));
}

Result<Descriptor> listen_at(const ListenAddress& address, const sockaddr* name, socklen_t length) {
  Descriptor listener(socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.valid()) return cannot_listen(address, errno);
  const int on = 1;
  if (name->sa_family == AF_INET || name->sa_family == AF_INET6) {
    setsockopt(listener.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  if (name->sa_family == AF_INET6) {
    setsockopt(listener.number(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  // The mode of a socket file is that of its socket, so nobody else can connect before.
  if (address.has_file()) fchmod(listener.number(), S_IRUSR | S_IWUSR);
  if (bind(listener.number(), name, length) != 0) return cannot_listen(address, errno);
  if (listen(listener.number(), kBacklog) == 0) return listener;
  const int cause = errno;
  if (address.has_file()) unlink(address.socket.c_str());
  return cannot_listen(address, cause);
}

Result<Descriptor> listen_on_socket(const ListenAddress& address) {
  if (address.socket.size() > kPathMax) return cannot_listen(address, ENAMETOOLONG);
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  address.socket.copy(name.sun_path, kPathMax);
  const size_t used = address.has_file() ? address.socket.size() + 1 : address.socket.size();
  return listen_at(address, reinterpret_cast<const sockaddr*>(&name),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + used));
}

Result<Descriptor> listen_on_vsock(const ListenAddress& address) {
  sockaddr_vm name{};
  name.svm_family = AF_VSOCK;
  name.svm_cid = VMADDR_CID_ANY;
  name.svm_port = address.port;
  return listen_at(address, reinterpret_cast<const sockaddr*>(&name), sizeof(name));
}

Result<Descriptor> listen_on_host(ListenAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return fail(EINVAL,
                fmt::format("cannot listen on {}: {}", address.text(), gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> guard(found, freeaddrinfo);
  auto listener = listen_at(address, found->ai_addr, found->ai_addrlen);
  if (!listener) return listener;
  sockaddr_in6 name{};  // large enough for both families, whose ports lie in the same place
  socklen_t length = sizeof(name);
  if (getsockname(listener->number(), reinterpret_cast<sockaddr*>(&name), &length) == 0) {
    address.port = ntohs(name.sin6_port);
  }
  return listener;
}

// A ring waits for clients by itself only if the socket blocks.
Listener take_passed(ListenAddress& address) {
  Listener listener{.socket = Descriptor(std::exchange(address.passed, -1))};
  const int socket = listener.socket.number();
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  return listener;
}

}  // namespace

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
  ListenAddress address;
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  std::string_view rest = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (kind == "unix") {
    address.transport = Transport::unix_socket;
    if (rest.empty() || rest == "@") return bad(text, "give the path of a socket: unix:PATH");
    if (rest.size() > kPathMax + (rest.starts_with('@') ? 1 : 0)) {
      return bad(text, fmt::format("the path of a socket has at most {} bytes", kPathMax));
    }
    address.socket = rest;
    if (rest.starts_with('@')) address.socket.front() = '\0';
    return address;
  }
  const bool is_vsock = kind == "vsock";
  if (kind != "tcp" && !is_vsock) {
    return bad(text, "give unix:PATH, unix:@NAME, tcp:HOST:PORT or vsock:PORT");
  }
  address.transport = is_vsock ? Transport::vsock : Transport::tcp;
  if (!is_vsock) {
    const size_t last = rest.rfind(':');
    std::string_view host = rest.substr(0, last);
    if (last == std::string_view::npos || host.empty()) {
      return bad(text, "give a host and a port, such as tcp:localhost:10809; port 0 is any");
    }
    if (host.starts_with('[') && host.ends_with(']')) {
      host = host.substr(1, host.size() - 2);
    } else if (host.contains(':')) {
      return bad(text, "write an IPv6 address in brackets, such as tcp:[::1]:10809");
    }
    address.host = host;
    rest = rest.substr(last + 1);
  }
  const auto port = port_of(rest, is_vsock ? UINT32_MAX : UINT16_MAX);
  if (!port) return bad(text, fmt::format("the port is {}, and must be a number", shown(rest)));
  address.port = *port;
  return address;
}

std::string ListenAddress::text() const {
  switch (transport) {
    case Transport::unix_socket:
      return has_file() ? "unix:" + socket : "unix:@" + socket.substr(1);
    case Transport::vsock:
      return fmt::format("vsock:{}", port);
    case Transport::tcp:
      break;
  }
  return host.contains(':') ? fmt::format("tcp:[{}]:{}", host, port)
                            : fmt::format("tcp:{}:{}", host, port);
}

std::string ListenAddress::uri(std::string_view export_name, bool tls) const {
  Uri uri;
  uri.tls = tls;
  uri.transport = transport;
  uri.host = host;
  uri.port = port;
  uri.cid = VMADDR_CID_LOCAL;
  uri.socket = socket;
  uri.export_name = export_name;
  return to_text(uri);
}

Result<Listener> listen_on(ListenAddress& address) {
  if (address.passed >= 0) return take_passed(address);
  if (address.is_private) {
    auto place = make_private_place();
    if (!place) return std::unexpected(place.error());
    address.socket = std::move(*place);
  }
  auto socket = address.transport == Transport::unix_socket ? listen_on_socket(address)
                : address.transport == Transport::vsock     ? listen_on_vsock(address)
                                                            : listen_on_host(address);
  if (!socket && address.is_private) rmdir(private_directory_of(address.socket).c_str());
  if (!socket) return std::unexpected(socket.error());
  Listener listener{.socket = std::move(*socket)};
  if (address.has_file()) {
    listener.file = address.socket;
    listener.inode = inode_of(address.socket);
    listener.directory = open_directory_of(address.socket);
  }
  return listener;
}

void Listener::remove_file() {
  const std::string name = name_in_directory(file);
  if (!file.empty() && inode_of(name, directory.number()) == inode) {
    unlinkat(directory.number(), name.c_str(), 0);
    const std::string around = private_directory_of(file);
    if (!around.empty()) {
      unlinkat(directory.number(), ("../" + name_in_directory(around)).c_str(), AT_REMOVEDIR);
    }
  }
  file.clear();
  directory = Descriptor();
}

bool is_socket_file(const std::string& path, uint64_t inode) {
  return path.size() <= kPathMax && inode_of(path) == inode;
}

bool is_dead_socket(const std::string& path, uint64_t inode) {
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  if (!is_socket_file(path, inode)) return false;
  path.copy(name.sun_path, path.size());
  const Descriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int result =
      connect(client.number(), reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  return result != 0 && errno == ECONNREFUSED;
}

}  // namespace sluice::nbd
