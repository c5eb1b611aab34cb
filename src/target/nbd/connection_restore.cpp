// Connection: after the loss of its socket.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/log.hpp"
#include "target/nbd/connection.hpp"

namespace sluice::nbd::client {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

// The time for connecting and shaking hands. It grows as well: the first packet may be lost with
// the link, and TCP repeats it ever more rarely.
constexpr nanoseconds kShortestDial = 1s;
constexpr nanoseconds kLongestDial = 10s;
// The pauses grow with the time that the server is away.
constexpr nanoseconds kShortestPause = 10ms;
constexpr nanoseconds kLongestPause = 1s;
constexpr int kPausesOfAbsence = 10;

nanoseconds pause_after(nanoseconds absence) {
  return std::clamp<nanoseconds>(absence / kPausesOfAbsence, kShortestPause, kLongestPause);
}

}  // namespace

// Ends with a new session, or with ECANCELED when the connection is closed.
Task Connection::restore(Request& own) {
  session_ = {};
  remote_.lost(why_);
  if (trouble_since_ == Clock::time_point()) {
    trouble_since_ = Clock::now();
  } else {
    Task waiting = pause(own, pause_after(trouble()));
    [[maybe_unused]] const Status waited = co_await waiting;
  }
  Task trying = try_servers(own);
  if (const Status tried = co_await trying; !tried.ok()) {
    remote_.left(gave_up_);
    co_return tried;
  }
  // What an earlier connection has asked for may still be under way at the server.
  if (repeats_changes_ && remote_.options().fence.count() != 0) {
    Task waiting = pause(own, remote_.options().fence);
    [[maybe_unused]] const Status waited = co_await waiting;
  }
  remote_.restored(std::exchange(gave_up_, false), repeated_);
  co_return Status::from_errno(closing_ ? ECANCELED : 0);
}

nanoseconds Connection::trouble() const { return Clock::now() - trouble_since_; }

Task Connection::try_servers(Request& own) {
  const Options& options = remote_.options();
  size_t server = 0;
  while (!closing_) {
    const nanoseconds away = trouble();
    if (!gave_up_ && away >= options.reconnect) {
      gave_up_ = true;
      remote_.given_up(why_);
      answer_all_waiting(EIO);
    }
    const nanoseconds longest = std::clamp<nanoseconds>(away, kShortestDial, kLongestDial);
    const nanoseconds time = gave_up_ ? longest : std::min(longest, options.reconnect - away);
    Task dialling = dialler_.dial(own, options.servers[server], time);
    const Status dialled = co_await dialling;
    if (closing_) break;
    if (dialled.ok()) {
      const std::string weakness = remote_.weakness(dialler_.session.agreed);
      if (weakness.empty()) {
        session_ = std::move(dialler_.session);
        session_.server = server;
        co_return kOk;
      }
      dialler_.session.end();
      remote_.fail(fmt::format("{} {}", options.servers[server].text, weakness));
      answer_all_waiting(EIO);
      while (!closing_) {
        Idle idle{supervisor_};
        co_await idle;
      }
      break;
    }
    why_ = fmt::format("cannot use {}: {}", options.servers[server].text, dialler_.why);
    server = (server + 1) % options.servers.size();
    const nanoseconds rest = pause_after(trouble());
    const nanoseconds left = options.reconnect - trouble();
    Task waiting = pause(own, gave_up_ ? rest : std::clamp(left, nanoseconds(0), rest));
    [[maybe_unused]] const Status waited = co_await waiting;
  }
  co_return Status::from_errno(ECANCELED);
}

Task Connection::pause(Request& /*own*/, nanoseconds duration) {
  if (closing_) co_return kOk;
  auto sleeping = ring_.sleep(duration);
  pausing_ = &sleeping;
  const Status slept = co_await sleeping;
  pausing_ = nullptr;
  co_return slept;
}

}  // namespace sluice::nbd::client
