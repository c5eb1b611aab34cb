#include "frontend/keeper/keeper.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/own_program.hpp"
#include "core/passing.hpp"
#include "core/retry.hpp"
#include "frontend/keeper/keeper_process.hpp"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kEndTimeout{2000};
constexpr std::chrono::milliseconds kLook{1000};

std::unexpected<Error> has_died() {
  return fail(EPIPE, "the keeper of the device, its helper process, has died: try again");
}

// Waits until the socket is readable; false: timeout.
bool wait_for_answer(int socket, Clock::time_point end) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    pollfd file{.fd = socket, .events = POLLIN, .revents = 0};
    if (poll(&file, 1, static_cast<int>(std::max<int64_t>(left.count(), 0))) > 0) return true;
    if (left.count() <= 0) return false;
  }
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::start() {
  std::unique_ptr<Keeper> keeper(new Keeper);
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(errno, fmt::format("cannot make a socket pair: {}", std::strerror(errno)));
  }
  keeper->socket_ = Descriptor(ends[0]);
  Descriptor theirs(ends[1]);
  const auto started = start_own_program(std::string(kKeeperWord), theirs.number());
  if (!started) return std::unexpected(started.error());
  keeper->process_ = *started;
  theirs = Descriptor();  // so that the keeper's death closes the socket
  auto line = LifeLine::make();
  if (!line) return std::unexpected(line.error());
  keeper->life_line_ = std::move(*line);
  const std::array<int, 1> descriptors = {keeper->life_line_.descriptor()};
  auto met = keeper->ask({{"do", "meet"}}, descriptors);
  if (!met) return std::unexpected(met.error());
  return keeper;
}

Keeper::~Keeper() {
  if (process_ < 0) return;
  socket_ = Descriptor();
  life_line_ = LifeLine();
  wait_until(kEndTimeout, [this] { return !alive(); });
}

bool Keeper::answers() {
  if (ask({{"do", "answer"}}, {}, kEndTimeout)) return true;
  wait_until(kEndTimeout, [this] { return !alive(); });
  return false;
}

bool Keeper::alive() {
  if (process_ < 0) return false;
  if (waitpid(process_, nullptr, WNOHANG) == 0) return true;
  process_ = -1;
  return false;
}

Result<void> Keeper::join_us(std::optional<int> abort, bool armed) {
  const Descriptor home(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  std::vector<int> descriptors = {home.number()};
  if (abort) descriptors.push_back(*abort);
  const auto joined = ask({{"do", "watch"}, {"armed", armed}}, descriptors);
  if (!joined) return std::unexpected(joined.error());
  return {};
}

Result<JsonValue> Keeper::ask(const JsonValue& request, std::span<const int> descriptors,
                              std::chrono::milliseconds timeout) {
  if (auto begun = begin(request, descriptors); !begun) return std::unexpected(begun.error());
  return finish(timeout);
}

Result<JsonValue> Keeper::ask_patiently(const JsonValue& request,
                                        const std::function<uint64_t()>& progress) {
  if (auto begun = begin(request, {}); !begun) return std::unexpected(begun.error());
  uint64_t done = progress();
  auto give_up = Clock::now() + kTimeout;
  while (true) {
    auto reply = finish(kLook);
    if (reply || reply.error().error != ETIMEDOUT) return reply;
    if (const uint64_t now = progress(); now != done) {
      done = now;
      give_up = Clock::now() + kTimeout;
    }
    if (Clock::now() > give_up) return reply;
  }
}

Result<void> Keeper::begin(const JsonValue& request, std::span<const int> descriptors) {
  JsonValue numbered = request;
  numbered.set("number", ++asked_);
  const std::string text = to_text(numbered);
  if (send_passing(socket_.number(), text, descriptors) >= 0) return {};
  return has_died();
}

Result<JsonValue> Keeper::finish(std::chrono::milliseconds timeout) {
  const auto end = Clock::now() + timeout;
  std::vector<char> text(kKeeperMessageBytes);
  while (wait_for_answer(socket_.number(), end)) {
    const ssize_t length = recv(socket_.number(), text.data(), text.size(), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return has_died();
    const std::string_view message(text.data(), static_cast<size_t>(length));
    auto reply = parse_json_tree(message, kMessageNestingMax);
    if (!reply || reply->value("number", uint64_t{0}) != asked_) continue;
    if (!reply->contains("error")) return *std::move(reply);
    return fail(reply->value("errno", EIO), reply->value("error", std::string()));
  }
  return fail(
      ETIMEDOUT,
      "the helper process of the device is blocked: the device or the driver does not answer");
}

}  // namespace sluice
