#include "target/crypt/key_command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "core/descriptor.hpp"
#include "core/spawn_attributes.hpp"
#include "target/crypt/passphrase.hpp"

namespace sluice::crypt {
namespace {

using CommandClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kCommandTimeout{60};
constexpr std::chrono::milliseconds kEndPause{5};

// The running shell. Killed with its children at the end, unless it has ended.
class KeyCommand {
 public:
  Result<void> start(const std::string& command);
  // Reads until the end of the output.
  Result<size_t> read_output(std::span<std::byte> bytes) const;
  // Waits for the end; nullopt: it has been killed.
  std::optional<int> wait();
  ~KeyCommand() {
    if (process_ > 0) kill_it();
  }

 private:
  void kill_it();
  int left_ms() const;

  Descriptor output_;
  pid_t process_ = -1;
  const CommandClock::time_point deadline_ = CommandClock::now() + kCommandTimeout;
};

Result<void> KeyCommand::start(const std::string& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail(errno, "crypt: cannot make a pipe");
  output_ = Descriptor(ends[0]);
  const Descriptor input(ends[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, input.number(), STDOUT_FILENO);
  const SpawnAttributes attributes(POSIX_SPAWN_SETPGROUP);
  const char* const words[] = {"sh", "-c", command.c_str(), nullptr};
  const int error = posix_spawn(&process_, "/bin/sh", &files, attributes.get(),
                                const_cast<char* const*>(words), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error == 0) return {};
  process_ = -1;
  return fail(error, fmt::format("crypt: cannot run key_cmd: {}", std::strerror(error)));
}

Result<size_t> KeyCommand::read_output(std::span<std::byte> bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    pollfd waiting{.fd = output_.number(), .events = POLLIN, .revents = 0};
    const int ready = poll(&waiting, 1, left_ms());
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      return fail(ETIMEDOUT, fmt::format("crypt: key_cmd has not ended within {} seconds",
                                         kCommandTimeout.count()));
    }
    const ssize_t got = read(output_.number(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno, "crypt: cannot read what key_cmd writes");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

std::optional<int> KeyCommand::wait() {
  int status = 0;
  while (waitpid(process_, &status, WNOHANG) == 0) {
    if (left_ms() == 0) {
      kill_it();
      return std::nullopt;
    }
    std::this_thread::sleep_for(kEndPause);
  }
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void KeyCommand::kill_it() {
  kill(-process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

int KeyCommand::left_ms() const {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - CommandClock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

}  // namespace

Result<Secret> read_from_command(const KeySource& source) {
  auto output = Secret::create(kPassphraseBytesMax + 1);
  if (!output) return output;
  KeyCommand command;
  if (auto started = command.start(source.place); !started) {
    return std::unexpected(started.error());
  }
  const auto got = command.read_output(output->bytes());
  if (!got) return std::unexpected(got.error());
  const auto status = command.wait();
  if (!status || *status != 0) {
    return fail(EACCES, status ? fmt::format("crypt: key_cmd failed with status {}", *status)
                               : std::string("crypt: key_cmd does not end"));
  }
  const uint64_t end = source.size ? source.offset + *source.size : *got;
  if (*got > kPassphraseBytesMax || source.offset >= *got || end > *got) {
    return fail(EINVAL, fmt::format("crypt: key_cmd wrote {} bytes, where {}", *got,
                                    *got == 0 ? "a passphrase was expected"
                                              : "the passphrase has other limits"));
  }
  return Secret::copy_of(
      std::as_const(*output).bytes().subspan(source.offset, end - source.offset));
}

}  // namespace sluice::crypt
