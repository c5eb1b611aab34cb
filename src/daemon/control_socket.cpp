#include "daemon/control_socket.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "daemon/socket_address.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr int kBacklog = 128;
// Without a descriptor for a client that waits, poll() would return at once, again and again.
constexpr int kExhaustedMilliseconds = 100;

Error cannot_listen(const std::string& path, int cause) {
  return {cause,
          fmt::format("cannot make the control socket {}: {}", shown(path), std::strerror(cause))};
}

std::optional<ino_t> inode_of(const std::string& path) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return std::nullopt;
  return status.st_ino;
}

bool may_ask(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

}  // namespace

Result<std::unique_ptr<ControlSocket>> ControlSocket::open(const std::string& path,
                                                           ControlCommands commands,
                                                           const ControlLimits& limits) {
  std::unique_ptr<ControlSocket> socket(new ControlSocket(path, std::move(commands), limits));
  if (auto listening = socket->listen_at_path(); !listening) {
    return std::unexpected(listening.error());
  }
  socket->thread_ = std::thread([raw = socket.get()] { raw->run(); });
  return socket;
}

ControlSocket::ControlSocket(std::string path, ControlCommands commands,
                             const ControlLimits& limits)
    : path_(std::move(path)), commands_(std::move(commands)), limits_(limits) {}

ControlSocket::~ControlSocket() {
  if (thread_.joinable()) {
    eventfd_write(end_.number(), 1);
    thread_.join();
  }
  if (inode_ != 0 && inode_of(path_) == inode_) unlink(path_.c_str());
}

// Under another name first and then over the old one, so that there is always one that answers.
Result<void> ControlSocket::listen_at_path() {
  end_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  listener_ = Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!end_.valid() || !listener_.valid()) return std::unexpected(cannot_listen(path_, errno));
  const std::string fresh = fmt::format("{}.{}", path_, getpid());
  const auto address = SocketAddress::make(fresh);
  if (!address) return std::unexpected(cannot_listen(path_, address.error().error));
  unlink(fresh.c_str());
  fchmod(listener_.number(), 0600);  // what the file is made with
  if (bind(listener_.number(), address->get(), SocketAddress::size()) != 0) {
    return std::unexpected(cannot_listen(path_, errno));
  }
  inode_ = inode_of(fresh).value_or(0);
  if (listen(listener_.number(), kBacklog) == 0 && rename(fresh.c_str(), path_.c_str()) == 0) {
    return {};
  }
  const int cause = errno;
  unlink(fresh.c_str());
  return std::unexpected(cannot_listen(path_, cause));
}

void ControlSocket::run() {
  pthread_setname_np(pthread_self(), "sluice-control");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::vector<pollfd> files;
  while (true) {
    files.clear();
    files.push_back({.fd = end_.number(), .events = POLLIN, .revents = 0});
    const bool listens = !full() && !exhausted_;
    files.push_back({.fd = listens ? listener_.number() : -1, .events = POLLIN, .revents = 0});
    for (const ControlConnection& each : connections_) {
      files.push_back({.fd = each.socket(), .events = each.awaited_events(), .revents = 0});
    }
    poll(files.data(), files.size(), milliseconds_to_sleep());
    const Clock::time_point now = Clock::now();  // before a command that takes long
    if (files[0].revents != 0) return;
    auto ready = files.cbegin() + 2;
    for (auto each = connections_.begin(); each != connections_.end(); ++ready) {
      const bool goes_on = ready->revents == 0 || each->proceed();
      each = goes_on ? std::next(each) : connections_.erase(each);
    }
    close_silent(now);
    exhausted_ = false;
    if (files[1].revents != 0) exhausted_ = !accept_one();
  }
}

// False: this process has no descriptor or memory to spare for a client.
bool ControlSocket::accept_one() {
  Descriptor client(accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client.valid()) {
    return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
  }
  if (may_ask(client.number())) {
    connections_.emplace_back(std::move(client), commands_);
  } else {
    ControlConnection::refuse(
        client, {EACCES, "only root and the user who runs this server may ask it: use sudo"});
  }
  return true;
}

// -1: until something comes.
int ControlSocket::milliseconds_to_sleep() const {
  if (exhausted_) return kExhaustedMilliseconds;
  if (connections_.empty()) return -1;
  const auto oldest = std::ranges::min_element(connections_, {}, &ControlConnection::answered_at);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(oldest->answered_at() +
                                                                 limits_.silence - Clock::now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

void ControlSocket::close_silent(Clock::time_point now) {
  const Clock::time_point limit = now - limits_.silence;
  connections_.remove_if([&](const ControlConnection& each) { return each.answered_at() < limit; });
}

}  // namespace sluice
