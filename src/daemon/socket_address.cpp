#include "daemon/socket_address.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>

namespace sluice {

Result<SocketAddress> SocketAddress::make(const std::string& path) {
  SocketAddress address;
  address.address_.sun_family = AF_UNIX;
  std::string name = path;
  if (name.size() >= sizeof(address.address_.sun_path)) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return fail(ENAMETOOLONG, "the name of a socket is too long");
    const std::string directory = path.substr(0, slash);
    address.directory_ = Descriptor(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!address.directory_.valid()) {
      return fail(errno, fmt::format("cannot open {}: {}", directory, std::strerror(errno)));
    }
    const std::string reached = fmt::format("/proc/self/fd/{}", address.directory_.number());
    if (access(reached.c_str(), F_OK) != 0) {
      return fail(ENAMETOOLONG, "a socket whose path has more than 107 bytes needs /proc");
    }
    name = reached + path.substr(slash);
  }
  if (name.size() >= sizeof(address.address_.sun_path)) {
    return fail(ENAMETOOLONG, "the name of a socket is too long");
  }
  std::memcpy(address.address_.sun_path, name.c_str(), name.size() + 1);
  return address;
}

int try_to_connect(const std::string& path) {
  const auto address = SocketAddress::make(path);
  if (!address) return address.error().error;
  const Descriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!client.valid()) return errno;
  return connect(client.number(), address->get(), SocketAddress::size()) == 0 ? 0 : errno;
}

}  // namespace sluice
