#include "cli/thin/lvm_report.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>

#include "core/descriptor.hpp"
#include "core/retry.hpp"

namespace sluice::cli {
namespace {

using ReportClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReportTimeout{30};
constexpr size_t kReportMost = 64 << 20;

// Killed at the end, unless it has ended.
class LvmProgram {
 public:
  LvmProgram() = default;
  LvmProgram(const LvmProgram&) = delete;
  LvmProgram& operator=(const LvmProgram&) = delete;
  ~LvmProgram() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  // False: see errno.
  bool start(std::vector<std::string> words);
  // All that it writes. False: it takes too long, or writes too much.
  bool read_all(std::string& text);
  // Nothing: it does not end.
  std::optional<int> wait();

 private:
  Descriptor output_;
  pid_t process_ = -1;
};

bool LvmProgram::start(std::vector<std::string> words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  output_ = Descriptor(ends[0]);
  const Descriptor input(ends[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, input.number(), STDOUT_FILENO);
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  const int error = posix_spawnp(&process_, list[0], &files, nullptr, list.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) process_ = -1;
  errno = error;
  return error == 0;
}

bool LvmProgram::read_all(std::string& text) {
  const auto deadline = ReportClock::now() + kReportTimeout;
  std::array<char, 1 << 16> part;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - ReportClock::now());
    pollfd waiting{.fd = output_.number(), .events = POLLIN, .revents = 0};
    const int ready = poll(&waiting, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || text.size() > kReportMost) return false;
    const ssize_t got = read(output_.number(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0;
    text.append(part.data(), static_cast<size_t>(got));
  }
}

// It has closed its output, and ends soon.
std::optional<int> LvmProgram::wait() {
  int status = 0;
  const Retry retry(kReportTimeout, std::chrono::milliseconds(1));
  while (waitpid(process_, &status, WNOHANG) == 0) {
    if (!retry.again()) return std::nullopt;
  }
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Outcome<JsonValue> read_lvm_report(const std::string& program,
                                   const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {program, "--reportformat", "json"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  LvmProgram running;
  if (!running.start(words)) {
    return failed(fmt::format("cannot run {} ({}): LVM is needed (package lvm2)", program,
                              std::strerror(errno)));
  }
  std::string text;
  const bool is_read = running.read_all(text);
  const auto status = is_read ? running.wait() : std::nullopt;
  if (!status) {
    return failed(
        fmt::format("{} has not reported within {} seconds", program, kReportTimeout.count()));
  }
  if (*status != 0) {
    return failed(fmt::format("{} ends with status {}, and has told why", program, *status));
  }
  auto report = read_json(text, kMessageNestingMax);
  if (!report) return failed(fmt::format("{} reports no JSON: {}", program, report.error().text));
  return std::move(*report);
}

}  // namespace sluice::cli
