#include "frontend/nbd/passed_socket.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string_view>

namespace sluice::nbd {
namespace {

std::unexpected<Error> no_listener(int socket, std::string_view what) {
  return fail(EINVAL, fmt::format("descriptor {} was passed as a socket where clients connect, but "
                                  "it is {}",
                                  socket, what));
}

int number_of(int socket, int option) {
  int value = -1;
  socklen_t length = sizeof(value);
  return getsockopt(socket, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

// An abstract name has its length; a path may end with a NUL or not.
std::string socket_name(const sockaddr_un& name, socklen_t length) {
  const size_t used = length - offsetof(sockaddr_un, sun_path);
  std::string text(name.sun_path, std::min(used, sizeof(name.sun_path)));
  return text.starts_with('\0') ? text : text.substr(0, text.find('\0'));
}

}  // namespace

Result<ListenAddress> address_of(int socket) {
  struct stat status{};
  if (fstat(socket, &status) != 0) return no_listener(socket, "not open");
  if (!S_ISSOCK(status.st_mode)) return no_listener(socket, "no socket");
  if (number_of(socket, SO_TYPE) != SOCK_STREAM) return no_listener(socket, "no stream socket");
  if (number_of(socket, SO_ACCEPTCONN) != 1) {
    return no_listener(socket, "a socket that does not listen");
  }
  ListenAddress address;
  address.passed = socket;
  sockaddr_storage name{};
  socklen_t length = sizeof(name);
  auto* const any = reinterpret_cast<sockaddr*>(&name);
  if (getsockname(socket, any, &length) != 0) return no_listener(socket, "without an address");
  switch (name.ss_family) {
    case AF_UNIX:
      address.transport = Transport::unix_socket;
      address.socket = socket_name(*reinterpret_cast<const sockaddr_un*>(any), length);
      if (address.socket.empty()) return no_listener(socket, "without an address");
      return address;
    case AF_VSOCK:
      address.transport = Transport::vsock;
      address.port = reinterpret_cast<const sockaddr_vm*>(any)->svm_port;
      return address;
    case AF_INET:
    case AF_INET6: {
      std::array<char, NI_MAXHOST> host{};
      if (getnameinfo(any, length, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
        return no_listener(socket, "without an address");
      }
      address.host = host.data();
      address.port = ntohs(reinterpret_cast<const sockaddr_in*>(any)->sin_port);
      return address;
    }
    default:
      return no_listener(socket, fmt::format("a socket of family {}", name.ss_family));
  }
}

}  // namespace sluice::nbd
