#include "daemon/notify.hpp"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "core/descriptor.hpp"

namespace sluice {
namespace {

constexpr const char* kVariable = "NOTIFY_SOCKET";
constexpr std::chrono::seconds kTimeout{1};

std::optional<std::string> inherited_socket;

}  // namespace

std::string manager_socket() {
  if (inherited_socket) return *inherited_socket;
  const char* const path = std::getenv(kVariable);
  return path != nullptr ? path : "";
}

void use_manager_socket(const std::string& path) { inherited_socket = path; }

void notify_manager(const std::string& lines) {
  const std::string path = manager_socket();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = path.size();
  if (length < 2 || length >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, path.data(), length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // A manager that does not read must not block the end of a server.
  const timeval timeout{.tv_sec = kTimeout.count(), .tv_usec = 0};
  setsockopt(socket.number(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  const auto address_length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (!socket.valid() || sendto(socket.number(), lines.data(), lines.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&address), address_length) < 0) {
    spdlog::warn("cannot notify the service manager at {}: {}", path, std::strerror(errno));
  }
}

}  // namespace sluice
