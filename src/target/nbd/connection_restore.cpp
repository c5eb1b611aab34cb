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

// A server that lets in and hangs up is asked ever more rarely.
constexpr nanoseconds kShortSession = 1s;

nanoseconds pause_before(int short_sessions) {
  return std::min<nanoseconds>(kShortestPause * (1 << std::min(short_sessions, 10)), kLongestPause);
}

nanoseconds pause_after(nanoseconds absence) {
  return std::clamp<nanoseconds>(absence / kPausesOfAbsence, kShortestPause, kLongestPause);
}

}  // namespace

// Ends with a new session, or with ECANCELED when the connection is closed.
Task Connection::restore(Request& own) {
  session_ = {};
  remote_.lost(why_, epoch_);
  const Clock::time_point now = Clock::now();
  if (trouble_since_ == Clock::time_point()) trouble_since_ = now;
  short_sessions_ = now - session_began_ < kShortSession ? short_sessions_ + 1 : 0;
  if (siblings_ == nullptr || remote_.is_ending()) {
    pass_on_waiting();
    Idle idle{supervisor_};
    if (!closing_) co_await idle;
    remote_.left(false);
    co_return Status::from_errno(ECANCELED);
  }
  if (short_sessions_ > 1) {
    Task waiting = pause(own, pause_before(short_sessions_));
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
    if (remote_.is_ending()) pass_on_waiting();  // it may have been cut short
    while (remote_.is_ending() && !closing_) {
      Idle idle{supervisor_};
      co_await idle;
    }
  }
  co_return Status::from_errno(closing_ ? ECANCELED : 0);
}

nanoseconds Connection::trouble() const { return Clock::now() - trouble_since_; }

// Begins with the server that the other connections use.
Task Connection::try_servers(Request& own) {
  const Options& options = remote_.options();
  Remote::Place at = remote_.place();
  while (!closing_ && !remote_.is_ending()) {
    const nanoseconds dial = std::clamp<nanoseconds>(trouble(), kShortestDial, kLongestDial);
    Task dialling = dialler_.dial(own, options.servers[at.server], dial);
    const Status dialled = co_await dialling;
    if (closing_ || (!dialled.ok() && remote_.is_ending())) break;
    if (dialled.ok()) {
      const std::string weakness = remote_.weakness(dialler_.session.agreed);
      if (!weakness.empty()) {
        dialler_.session.end();
        remote_.fail(fmt::format("{} {}", options.servers[at.server].text, weakness));
        pass_on_waiting();
        break;
      }
      session_ = std::move(dialler_.session);
      session_.server = at.server;
      epoch_ = remote_.restored(std::exchange(gave_up_, false), repeated_, at);
      co_return kOk;
    }
    why_ = fmt::format("cannot use {}: {}", options.servers[at.server].text, dialler_.why);
    if (!gave_up_ && trouble() >= options.reconnect) {
      gave_up_ = true;
      remote_.given_up(why_);
      pass_on_waiting();
    }
    const size_t next = (at.server + 1) % options.servers.size();
    at = remote_.place();
    at.server = next;
    const nanoseconds rest = pause_after(trouble());
    const nanoseconds left = std::max(options.reconnect - trouble(), kShortestPause);
    Task waiting = pause(own, gave_up_ ? rest : std::min(left, rest));
    [[maybe_unused]] const Status waited = co_await waiting;
  }
  if (remote_.is_ending()) pass_on_waiting();
  while (!closing_) {
    Idle idle{supervisor_};
    co_await idle;
  }
  co_return Status::from_errno(ECANCELED);
}

Task Connection::pause(Request& /*own*/, nanoseconds duration) {
  if (closing_ || remote_.is_ending()) co_return kOk;
  auto sleeping = ring_.sleep(duration);
  pausing_ = &sleeping;
  const Status slept = co_await sleeping;
  pausing_ = nullptr;
  co_return slept;
}

}  // namespace sluice::nbd::client
