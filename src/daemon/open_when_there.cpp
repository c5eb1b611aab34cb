#include "daemon/open_when_there.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "target/open_context.hpp"

namespace sluice {
namespace {

using std::chrono::nanoseconds;

// True if what is missing may appear later.
bool may_appear(const Error& why) {
  constexpr int kAbsent[] = {ENOENT,       ENXIO,        ENODEV,      ECONNREFUSED, ECONNRESET,
                             ECONNABORTED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT,    EAGAIN};
  return std::ranges::find(kAbsent, why.error) != std::end(kAbsent);
}

// False: a signal tells the process to end.
bool pause_for(nanoseconds time) {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, signal);
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec span{.tv_sec = time.count() / kSecond, .tv_nsec = time.count() % kSecond};
  return sigtimedwait(&ending, nullptr, &span) < 0;
}

}  // namespace

Result<std::unique_ptr<Stack>> open_when_there(const ServeOptions& options, bool to_the_byte) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const pid_t caller = getppid();
  nanoseconds pause = std::chrono::milliseconds(50);
  while (true) {
    OpenContext context(options.read_only, options.force);
    context.let_clients_address_bytes(to_the_byte);
    context.set_outlives_server(options.frontend.recovery != Recovery::none);
    auto stack = Stack::open(options.spec, context);
    if (stack || !may_appear(stack.error())) return stack;
    const nanoseconds left = options.wait - nanoseconds(Clock::now() - begin);
    if (left.count() <= 0 || !pause_for(std::min(pause, left))) return stack;
    if (!options.foreground && getppid() != caller) return stack;  // it has given up
    pause = std::min<nanoseconds>(2 * pause, std::chrono::seconds(1));
  }
}

}  // namespace sluice
