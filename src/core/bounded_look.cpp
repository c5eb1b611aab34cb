#include "core/bounded_look.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/descriptor.hpp"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

using Look = std::function<std::string(size_t)>;

constexpr int kAnswers = 0;  // the helper's output, the only descriptor that it keeps

Result<Descriptor> start_helper(size_t first, size_t count, const Look& look,
                                const LookLimits& limits);
size_t collect(int pipe, size_t first, Looks& looks, const LookLimits& limits,
               Clock::time_point end);

}  // namespace

Result<Looks> look_bounded(size_t count, const Look& look, const LookLimits& limits) {
  Looks looks(count);
  const auto end = Clock::now() + limits.all;
  for (size_t next = 0; next < count && Clock::now() < end;) {
    const auto pipe = start_helper(next, count, look, limits);
    if (!pipe) return std::unexpected(pipe.error());
    next = collect(pipe->number(), next, looks, limits, end) + 1;  // skips the failed one
  }
  return looks;
}

namespace {

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(kAnswers, bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// Closes files that other processes may wait for first: closing a file on a network file system may
// block for ever, and later files stay open until it returns.
void close_all_else() {
  if (DIR* const files = opendir("/proc/self/fd")) {
    while (const dirent* const entry = readdir(files)) {
      const int file = std::atoi(entry->d_name);
      if (file == kAnswers || file == dirfd(files)) continue;
      struct statx found{};
      const int looked = statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &found);
      if (looked == 0 && !S_ISREG(found.stx_mode) && !S_ISDIR(found.stx_mode)) close(file);
    }
  }
  close_range(kAnswers + 1, ~0U, 0);
}

// Ends this process when a query takes too long, even if no process waits for the answer.
void set_alarm(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const std::chrono::microseconds rest = time - seconds;
  const itimerval timer{.it_interval = {},
                        .it_value = {.tv_sec = seconds.count(), .tv_usec = rest.count()}};
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void prepare_signals() {
  signal(SIGALRM, SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void help(int pipe, size_t first, size_t count, const Look& look,
                       const LookLimits& limits) {
  prepare_signals();
  prctl(PR_SET_NAME, "sluice-look");
  if (dup2(pipe, kAnswers) < 0) _exit(1);
  set_alarm(limits.each);
  close_all_else();
  for (size_t i = first; i < count; ++i) {
    set_alarm(limits.each);
    const std::string answer = look(i);
    const auto length = static_cast<uint32_t>(answer.size());
    char header[sizeof(length)];
    std::memcpy(header, &length, sizeof(length));
    if (!write_all({header, sizeof(header)}) || !write_all(answer)) break;
  }
  _exit(0);
}

// A grandchild, so that it needs no wait() and leaves no zombie of this process.
Result<Descriptor> start_helper(size_t first, size_t count, const Look& look,
                                const LookLimits& limits) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(errno, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  Descriptor answers(ends[0]);
  const Descriptor questions(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    const pid_t helper = fork();
    if (helper == 0) help(questions.number(), first, count, look, limits);
    _exit(helper < 0 ? errno : 0);
  }
  int status = 0;
  const bool forked = child > 0;
  int cause = forked ? 0 : errno;
  while (forked && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (forked && WIFEXITED(status)) cause = WEXITSTATUS(status);
  if (cause == 0) return answers;
  return fail(cause, fmt::format("cannot start a helper process: {}", std::strerror(cause)));
}

// Reads all of `bytes` before `end`.
bool read_all(int pipe, char* bytes, size_t count, Clock::time_point end) {
  while (count != 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd file{.fd = pipe, .events = POLLIN, .revents = 0};
    const int ready = left <= 0 ? 0 : poll(&file, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t got = read(pipe, bytes, count);
    if (got <= 0) return false;
    bytes += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

// Returns the index of the first query without an answer.
size_t collect(int pipe, size_t first, Looks& looks, const LookLimits& limits,
               Clock::time_point end) {
  for (size_t i = first; i < looks.size(); ++i) {
    const auto deadline = std::min(end, Clock::now() + limits.each);
    char header[sizeof(uint32_t)];
    if (!read_all(pipe, header, sizeof(header), deadline)) return i;
    uint32_t length = 0;
    std::memcpy(&length, header, sizeof(length));
    std::string answer(length, '\0');
    if (!read_all(pipe, answer.data(), answer.size(), deadline)) return i;
    looks[i] = std::move(answer);
  }
  return looks.size();
}

}  // namespace
}  // namespace sluice
