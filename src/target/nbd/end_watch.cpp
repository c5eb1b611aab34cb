#include "target/nbd/end_watch.hpp"

#include <algorithm>
#include <utility>

#include "core/idle.hpp"
#include "target/nbd/connection.hpp"

namespace sluice::nbd::client {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

constexpr nanoseconds kLookAgain = 100ms;
// Without a word from the server. It may be long in writing back its cache.
constexpr nanoseconds kLastPatience = 1s;
constexpr nanoseconds kLastFlush = 4s;

}  // namespace

EndWatch::EndWatch(Connection& connection)
    : EndNotice(connection.ring()), connection_(connection) {}

Service EndWatch::watch() {
  Connection& watched = connection_;
  watched.dialler_.cancel();
  if (watched.pausing_ != nullptr) ring.cancel(*std::exchange(watched.pausing_, nullptr));
  uint64_t words = words_;
  Connection::Clock::time_point since = Connection::Clock::now();
  while (!watched.closing_) {
    const Connection::Clock::time_point now = Connection::Clock::now();
    if (std::exchange(words, words_) != words_ || watched.in_flight() == 0) since = now;
    if (now - since >= patience()) {
      watched.break_off(std::string("it does not answer, and the device ends"));
    }
    auto sleeping = ring.sleep(kLookAgain);
    sleeping_ = &sleeping;
    [[maybe_unused]] const Status slept = co_await sleeping;
    sleeping_ = nullptr;
  }
  over_ = true;
  wake(ring.ready(), ender_);
}

nanoseconds EndWatch::patience() const {
  const bool flushes = std::ranges::any_of(connection_.calls_.slots(), [](const Call* call) {
    return call != nullptr && call->header.command == Command::flush;
  });
  return flushes ? kLastFlush : kLastPatience;
}

Task EndWatch::end(Request& /*own*/) {
  connection_.remote_.disconnected(*this);
  if (sleeping_ != nullptr) ring.cancel(*std::exchange(sleeping_, nullptr));
  while (posted && !over_) {
    Idle idle{ender_};
    co_await idle;
  }
  co_return kOk;
}

}  // namespace sluice::nbd::client
