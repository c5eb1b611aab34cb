#include "daemon/clerk.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/own_program.hpp"
#include "core/passing.hpp"
#include "daemon/clerk_process.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kClerkTimeout{30};  // longer than the wait for the StateLock

std::unique_ptr<Clerk> the_clerk;       // set once, before the process has threads
std::atomic<Clerk*> charged = nullptr;  // the same, once it is in charge

std::unexpected<Error> clerk_has_died() {
  return fail(EPIPE, "the clerk of the device, which has root's rights for its server, has died");
}

bool wait_for_clerk(int socket, std::chrono::steady_clock::time_point end) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd file{.fd = socket, .events = POLLIN, .revents = 0};
    if (poll(&file, 1, static_cast<int>(left.count())) > 0) return true;
  }
}

bool send_to_clerk(int socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send_passing(socket, text, {});
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace

Result<void> Clerk::hire(const DeviceRecord& record) {
  std::unique_ptr<Clerk> clerk(new Clerk);
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(errno, fmt::format("cannot make a socket pair: {}", std::strerror(errno)));
  }
  clerk->socket_ = Descriptor(ends[0]);
  const Descriptor theirs(ends[1]);
  const auto started = start_own_program(std::string(kClerkWord), theirs.number());
  if (!started) return std::unexpected(started.error());
  auto met = clerk->order({{"do", "meet"}, {"id", record.id}, {"name", record.name}});
  if (!met) return met;
  the_clerk = std::move(clerk);
  return {};
}

Clerk* Clerk::hired() { return the_clerk.get(); }

Clerk* Clerk::in_charge() { return charged.load(std::memory_order_acquire); }

Result<void> Clerk::take_charge(const DeviceRecord& record) {
  auto taken = order({{"do", "take_charge"}, {"record", to_json(record)}});
  if (taken) charged.store(this, std::memory_order_release);
  return taken;
}

Result<void> Clerk::write_record(const DeviceRecord& record) {
  return order({{"do", "write"}, {"record", to_json(record)}});
}

Result<DeviceRecord> Clerk::read_record() {
  const auto reply = ask({{"do", "read"}});
  if (!reply) return std::unexpected(reply.error());
  return record_from_json(reply->value("record", std::string()));
}

Result<void> Clerk::remove_device() { return order({{"do", "remove"}}); }

Result<void> Clerk::end_next_server() { return order({{"do", "end_next"}}); }

Result<void> Clerk::append_event(const DeviceEvent& event) {
  std::string line = event_line(event);
  line.pop_back();
  return order({{"do", "event"}, {"event", line}});
}

Result<void> Clerk::write_log(std::chrono::system_clock::time_point time, int level,
                              std::string_view text) {
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch());
  return order({{"do", "log"},
                {"time_us", since.count()},
                {"level", level},
                {"text", bytes_json(std::string(text))}});
}

Result<void> Clerk::order(const JsonValue& request) {
  const auto reply = ask(request);
  return reply ? Result<void>() : std::unexpected(reply.error());
}

// A clerk that does not answer in time is not asked again: its answer would be taken for another.
Result<JsonValue> Clerk::ask(const JsonValue& request) {
  const std::scoped_lock guard(mutex_);
  if (!socket_.valid()) return clerk_has_died();
  Descriptor socket = std::move(socket_);
  if (!send_to_clerk(socket.number(), to_text(request) + "\n")) return clerk_has_died();
  const auto end = std::chrono::steady_clock::now() + kClerkTimeout;
  size_t line_end = std::string::npos;
  while ((line_end = received_.find('\n')) == std::string::npos) {
    if (!wait_for_clerk(socket.number(), end)) {
      return fail(ETIMEDOUT,
                  "the clerk of the device does not answer: is the file system of the "
                  "state directory blocked?");
    }
    std::array<char, 4096> bytes;
    std::vector<Descriptor> none;
    const ssize_t count = receive_passed(socket.number(), bytes, none, MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return clerk_has_died();
    received_.append(bytes.data(), static_cast<size_t>(count));
  }
  const auto reply = parse_json_tree(received_.substr(0, line_end), kMessageNestingMax);
  received_.erase(0, line_end + 1);
  socket_ = std::move(socket);
  if (!reply) return fail(EPROTO, "the clerk of the device is of another version");
  try {
    if (!reply->contains("error")) return *reply;
    return fail(reply->value("errno", EIO), reply->value("error", std::string()));
  } catch (const JsonMismatch&) {
    return fail(EPROTO, "the clerk of the device is of another version");
  }
}

}  // namespace sluice
