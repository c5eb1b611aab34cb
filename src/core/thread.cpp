#include "core/thread.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

namespace sluice {

// A thread inherits the blocked signals of its creator. Of the signals that a thread raises itself
// only SIGXFSZ may be blocked: the others, if blocked, would end the process without its handlers.
Result<std::thread> start_thread(const std::string& name, std::move_only_function<void()> run) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&all, fault);
  }
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<std::thread> started;
  try {
    started = std::thread([name, run = std::move(run)]() mutable {
      pthread_setname_np(pthread_self(), name.c_str());
      run();
    });
  } catch (const std::system_error& error) {
    started = fail(error.code().value(),
                   fmt::format("cannot start the thread {}: {}; see ulimit -u and the pids.max of "
                               "the control group",
                               name, error.code().message()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace sluice
