#include "daemon/signal_watch.hpp"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include "core/thread.hpp"

namespace sluice {
namespace {

constexpr int kDone = SIGUSR1;

sigset_t watched() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, kDone}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

// If SIGCHLD is ignored, the end of a child is not reported.
void SignalWatch::block_signals() {
  signal(SIGCHLD, SIG_DFL);
  const sigset_t signals = watched();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

Result<std::unique_ptr<SignalWatch>> SignalWatch::start(Mailbox& mailbox) {
  std::unique_ptr<SignalWatch> watch(new SignalWatch(mailbox));
  auto thread = start_thread("sluice-signals", [raw = watch.get()] { raw->watch(); });
  if (!thread) return std::unexpected(thread.error());
  watch->thread_ = std::move(*thread);
  return watch;
}

SignalWatch::~SignalWatch() {
  if (!thread_.joinable()) return;
  pthread_kill(thread_.native_handle(), kDone);
  thread_.join();
}

void SignalWatch::watch() {
  const sigset_t signals = watched();
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal != kDone) {
    if (signal == SIGCHLD) {
      mailbox_.put({.kind = Letter::Kind::look});
    } else {
      spdlog::info("signal {}: stopping the device", signal);
      mailbox_.put({.kind = Letter::Kind::terminate});
    }
  }
}

}  // namespace sluice
