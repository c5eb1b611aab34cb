#include "daemon/companion.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/read_to_end.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kEndTime{5};  // after SIGTERM
constexpr int kCannotRun = 127;              // as shells say it
constexpr int kSignalled = 128;
constexpr const char* kShell = "/bin/sh";

[[noreturn]] void run_command(int pipe, pid_t server, bool has_group, const std::string& command,
                              std::span<const int> withheld) {
  if (has_group) setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != server) _exit(0);
  for (const int each : withheld) close(each);
  for (const int each : {SIGPIPE, SIGXFSZ}) signal(each, SIG_DFL);  // ignored by this program only
  const std::string path = read_to_end(pipe);
  if (path.empty()) _exit(0);
  setenv("path", path.c_str(), 1);
  if (path.contains("://")) {
    for (const char* const name : {"uri", "SLUICE_URI"}) setenv(name, path.c_str(), 1);
  }
  execl(kShell, "sh", "-c", command.c_str(), nullptr);
  dprintf(STDERR_FILENO, "sluice: cannot run %s: %s\n", kShell, std::strerror(errno));
  _exit(kCannotRun);
}

}  // namespace

Result<std::unique_ptr<Companion>> Companion::start(const std::string& command,
                                                    std::span<const int> withheld) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(errno, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  const Descriptor reader(ends[0]);
  std::unique_ptr<Companion> companion(new Companion);
  companion->start_ = Descriptor(ends[1]);
  // A group of its own would not get the interrupts of its terminal, and could not read from it.
  companion->has_group_ = isatty(STDIN_FILENO) == 0;
  const pid_t server = getpid();
  companion->process_ = fork();
  if (companion->process_ == 0) {
    close(ends[1]);
    run_command(ends[0], server, companion->has_group_, command, withheld);
  }
  if (companion->process_ < 0) {
    return fail(errno, fmt::format("cannot start a process: {}", std::strerror(errno)));
  }
  if (companion->has_group_) setpgid(companion->process_, companion->process_);
  return companion;
}

bool Companion::begin(const std::string& device_path) {
  const Descriptor pipe = std::move(start_);
  const ssize_t written = write(pipe.number(), device_path.data(), device_path.size());
  return written == static_cast<ssize_t>(device_path.size());
}

bool Companion::has_ended() {
  if (status_) return true;
  int status = 0;
  const pid_t ended = waitpid(process_, &status, WNOHANG);
  if (ended == 0) return false;
  status_ = ended < 0             ? EXIT_FAILURE  // somebody else has waited for it
            : WIFEXITED(status)   ? WEXITSTATUS(status)
            : WIFSIGNALED(status) ? kSignalled + WTERMSIG(status)
                                  : EXIT_FAILURE;
  return true;
}

void Companion::tell_to_end() {
  if (kill_at_ || has_ended()) return;
  signal(SIGTERM);
  kill_at_ = Clock::now() + kEndTime;
}

int Companion::wait() {
  start_ = Descriptor();
  sigset_t signals;
  sigemptyset(&signals);
  for (const int each : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, each);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  while (!has_ended()) {
    if (kill_at_ && Clock::now() >= *kill_at_) signal(SIGKILL);
    const auto left = kill_at_ ? std::chrono::ceil<std::chrono::seconds>(*kill_at_ - Clock::now())
                               : std::chrono::hours(1);
    const timespec time{.tv_sec = std::max<int64_t>(left.count(), 1), .tv_nsec = 0};
    const int number = sigtimedwait(&signals, nullptr, &time);
    if (number == SIGTERM || number == SIGINT || number == SIGHUP) tell_to_end();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return *status_;
}

void Companion::signal(int number) const { kill(has_group_ ? -process_ : process_, number); }

}  // namespace sluice
