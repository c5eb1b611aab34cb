#include "daemon/control_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <optional>
#include <vector>

#include "core/thread.hpp"
#include "daemon/process_life.hpp"
#include "daemon/socket_address.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr int kBacklog = 128;
constexpr mode_t kFileMode = 0600;
// If no descriptor is free for a waiting client, poll() would return immediately, in a loop.
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

}  // namespace

Result<std::unique_ptr<ControlSocket>> ControlSocket::open(const std::string& path,
                                                           ControlCommands commands,
                                                           const ControlLimits& limits) {
  auto socket = listen(path, std::move(commands), limits);
  if (!socket) return socket;
  if (auto begun = (*socket)->begin(); !begun) return std::unexpected(begun.error());
  return socket;
}

Result<std::unique_ptr<ControlSocket>> ControlSocket::listen(const std::string& path,
                                                             ControlCommands commands,
                                                             const ControlLimits& limits) {
  std::unique_ptr<ControlSocket> socket(new ControlSocket(path, std::move(commands), limits));
  if (auto listening = socket->listen_at_path(); !listening) {
    return std::unexpected(listening.error());
  }
  return socket;
}

Result<void> ControlSocket::begin() {
  auto thread = start_thread("sluice-control", [this] { run(); });
  if (!thread) return std::unexpected(thread.error());
  thread_ = std::move(*thread);
  return {};
}

ControlSocket::ControlSocket(std::string path, ControlCommands commands,
                             const ControlLimits& limits)
    : path_(std::move(path)),
      commands_(std::move(commands)),
      limits_(limits),
      owner_(geteuid()),
      answers_(std::make_shared<AnswerBox>()) {}

ControlSocket::~ControlSocket() {
  if (thread_.joinable()) {
    ending_ = true;
    answers_->ring();
    thread_.join();
  }
  answers_->close();
  if (inode_ != 0 && inode_of(path_) == inode_) unlink(path_.c_str());
}

// Bound under another name and then renamed over the old one, so that there always is a socket that
// answers.
Result<void> ControlSocket::listen_at_path() {
  if (answers_->fault() != 0) return std::unexpected(cannot_listen(path_, answers_->fault()));
  if (!take_spares()) return std::unexpected(cannot_listen(path_, errno));
  listener_ = Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_.valid()) return std::unexpected(cannot_listen(path_, errno));
  const std::string fresh = fmt::format("{}.{}", path_, mark_suffix());
  const auto address = SocketAddress::make(fresh);
  if (!address) return std::unexpected(cannot_listen(path_, address.error().error));
  unlink(fresh.c_str());
  fchmod(listener_.number(), kFileMode);  // bind() creates the file with this mode, less the umask
  if (bind(listener_.number(), address->get(), SocketAddress::size()) != 0) {
    return std::unexpected(cannot_listen(path_, errno));
  }
  chmod(fresh.c_str(), kFileMode);
  inode_ = inode_of(fresh).value_or(0);
  if (::listen(listener_.number(), kBacklog) == 0 && rename(fresh.c_str(), path_.c_str()) == 0) {
    return {};
  }
  const int cause = errno;
  unlink(fresh.c_str());
  return std::unexpected(cannot_listen(path_, cause));
}

void ControlSocket::run() {
  std::vector<pollfd> files;
  while (true) {
    const Clock::time_point before = Clock::now();
    const bool has_room = !full() || somebody_has_to_go(before);
    const int listener = has_room && !exhausted_ ? listener_.number() : -1;
    files.clear();
    files.push_back({.fd = answers_->bell(), .events = POLLIN, .revents = 0});
    files.push_back({.fd = listener, .events = POLLIN, .revents = 0});
    for (const ControlConnection& each : connections_) {
      files.push_back({.fd = each.socket(), .events = each.awaited_events(), .revents = 0});
    }
    poll(files.data(), files.size(), milliseconds_to_sleep(before));
    const Clock::time_point now = Clock::now();
    auto ready = files.cbegin() + 2;
    for (auto each = connections_.begin(); each != connections_.end(); ++ready) {
      const bool goes_on = ready->revents == 0 || each->proceed(ready->revents);
      each = goes_on ? std::next(each) : connections_.erase(each);
    }
    hand_out_answers();
    if (connections_.empty()) take_spares();
    if (ending_) return;
    close_late(now);
    exhausted_ = false;
    if (files[1].revents != 0) exhausted_ = !accept_all(now);
  }
}

// Other commands have answered by now; pending ones are slow.
void ControlSocket::hand_out_answers() {
  auto arrived = answers_->take();
  size_t waiting = 0;
  for (auto each = connections_.begin(); each != connections_.end();) {
    bool goes_on = true;
    const auto answer = std::ranges::find_if(
        arrived, [&](const AnswerBox::Arrived& one) { return each->awaits(one.request); });
    if (answer != arrived.end()) {
      goes_on = each->take_answer(std::move(answer->reply));
    } else if (each->awaits_answer() && ++waiting > limits_.waiting) {
      goes_on = each->refuse_request();
    }
    each = goes_on ? std::next(each) : connections_.erase(each);
  }
}

void ControlSocket::close_late(Clock::time_point now) {
  connections_.remove_if([&](ControlConnection& each) {
    if (each.awaits_answer()) return now >= each.answer_due() && !each.give_up_answer();
    return now >= each.silent_since() + limits_.silence;
  });
}

bool ControlSocket::full() const {
  const auto counts = [](const ControlConnection& each) { return !each.awaits_answer(); };
  return std::cmp_greater_equal(std::ranges::count_if(connections_, counts), limits_.clients);
}

// Makes room for a waiting client.
bool ControlSocket::has_to_go(const ControlConnection& client, Clock::time_point now) const {
  return !client.awaits_answer() && now >= may_go_at(client);
}

ControlSocket::Clock::time_point ControlSocket::may_go_at(const ControlConnection& client) const {
  return client.silent_since() + (client.replying() ? limits_.to_listen : limits_.to_ask);
}

bool ControlSocket::somebody_has_to_go(Clock::time_point now) const {
  return std::ranges::any_of(connections_,
                             [&](const ControlConnection& each) { return has_to_go(each, now); });
}

// False: all of them are active.
bool ControlSocket::close_most_silent(Clock::time_point now) {
  auto most_silent = connections_.end();
  for (auto each = connections_.begin(); each != connections_.end(); ++each) {
    if (!has_to_go(*each, now)) continue;
    const bool is_first = most_silent == connections_.end();
    if (is_first || each->silent_since() < most_silent->silent_since()) most_silent = each;
  }
  if (most_silent == connections_.end()) return false;
  connections_.erase(most_silent);
  return true;
}

bool ControlSocket::may_ask(int client) const {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == owner_;
}

// `now` was taken before the silent clients were polled. False: no descriptor or memory for a
// client.
bool ControlSocket::accept_all(Clock::time_point now) {
  while (!full() || somebody_has_to_go(now)) {
    Descriptor client(accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) {
      const bool none_left =
          errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (none_left && (release_spares() || close_most_silent(now))) continue;
      return !none_left;
    }
    if (!may_ask(client.number())) {
      ControlConnection::refuse(
          client, {EACCES, "only root and the user who runs this server may ask it: use sudo"});
      continue;
    }
    if (full()) close_most_silent(now);
    connections_.emplace_back(std::move(client), commands_, *answers_);
  }
  return true;
}

// False: not all of them, with errno.
bool ControlSocket::take_spares() {
  return std::ranges::all_of(spares_, [this](Descriptor& spare) {
    if (!spare.valid()) spare = Descriptor(fcntl(answers_->bell(), F_DUPFD_CLOEXEC, 0));
    return spare.valid();
  });
}

// False: there were none.
bool ControlSocket::release_spares() {
  const bool had_some = std::ranges::any_of(spares_, &Descriptor::valid);
  for (Descriptor& spare : spares_) spare = Descriptor();
  return had_some;
}

// -1: no timeout.
int ControlSocket::milliseconds_to_sleep(Clock::time_point now) const {
  if (exhausted_) return kExhaustedMilliseconds;
  if (connections_.empty()) return -1;
  const bool is_full = full();
  Clock::time_point next = Clock::time_point::max();
  for (const ControlConnection& each : connections_) {
    if (each.awaits_answer()) {
      next = std::min(next, each.answer_due());
      continue;
    }
    next = std::min(next, each.silent_since() + limits_.silence);
    // Wake up when it may be closed for another client.
    if (is_full && now < may_go_at(each)) next = std::min(next, may_go_at(each));
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now);
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX));
}

}  // namespace sluice
