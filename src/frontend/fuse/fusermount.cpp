#include "frontend/fuse/fusermount.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "core/passing.hpp"
#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

constexpr const char* kHelper = "fusermount3";
constexpr const char* kSocketVariable = "_FUSE_COMMFD";
constexpr std::string_view kHelperSays = "fusermount3: ";
constexpr size_t kMostWords = 400;

// A running helper, and the pipe of its standard error output.
struct Helper {
  pid_t process = 0;
  Descriptor words;
};

// `extra` is an environment variable, or empty.
Result<Helper> start(std::vector<std::string> arguments, std::string extra) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.push_back(*variable);
  if (!extra.empty()) environment.push_back(extra.data());
  environment.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(errno, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  Helper helper{.words = Descriptor(ends[0])};
  const Descriptor its_error(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, its_error.number(), STDERR_FILENO);
  const int error =
      posix_spawnp(&helper.process, kHelper, &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return helper;
  if (error == ENOENT) {
    return fail(ENOENT,
                "users other than root mount through fusermount3, which is not installed: install "
                "the package fuse3");
  }
  return fail(error, fmt::format("cannot start fusermount3: {}", std::strerror(error)));
}

// Waits for its end; empty on success, otherwise its message.
std::optional<std::string> complaint_of(const Helper& helper) {
  std::string words;
  std::array<char, 512> some;
  ssize_t count = 0;
  while ((count = read(helper.words.number(), some.data(), some.size())) > 0 ||
         (count < 0 && errno == EINTR)) {
    if (count > 0 && words.size() < kMostWords)
      words.append(some.data(), static_cast<size_t>(count));
  }
  int status = 0;
  while (waitpid(helper.process, &status, 0) < 0) {
    if (errno != EINTR) return std::strerror(errno);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  if (words.starts_with(kHelperSays)) words.erase(0, kHelperSays.size());
  while (words.ends_with('\n')) words.pop_back();
  std::ranges::replace(words, '\n', ' ');
  return words.empty() ? "it gives no reason" : printable(words, kMostWords);
}

// The descriptor received over the socket; not valid if the helper ended without one.
Descriptor receive_descriptor(int socket) {
  std::array<char, 1> byte{};
  std::vector<Descriptor> descriptors;
  while (receive_passed(socket, byte, descriptors) < 0 && errno == EINTR) {
  }
  return descriptors.empty() ? Descriptor() : std::move(descriptors.front());
}

}  // namespace

Result<Descriptor> mount_by_fusermount(const std::string& at, const std::string& options) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(errno, fmt::format("cannot make a socket pair: {}", std::strerror(errno)));
  }
  const Descriptor ours(ends[0]);
  Descriptor theirs(ends[1]);
  fcntl(theirs.number(), F_SETFD, 0);
  auto helper = start({kHelper, "-o", options, "--", at},
                      fmt::format("{}={}", kSocketVariable, theirs.number()));
  theirs = Descriptor();
  if (!helper) return std::unexpected(helper.error());
  Descriptor device = receive_descriptor(ours.number());
  const auto complaint = complaint_of(*helper);
  if (!complaint && device.valid()) return device;
  return fail(EPERM, fmt::format("fusermount3 refused to mount on {} ({}): you must own the path "
                                 "and be able to write to it, may need access to /dev/fuse, and "
                                 "--allow_other needs user_allow_other in /etc/fuse.conf",
                                 shown(at), complaint.value_or("it sent no descriptor")));
}

Result<void> unmount_by_fusermount(const std::string& at, bool lazily) {
  std::vector<std::string> arguments = {kHelper, "-u"};
  if (lazily) arguments.emplace_back("-z");
  arguments.emplace_back("--");
  arguments.push_back(at);
  auto helper = start(std::move(arguments), {});
  if (!helper) return std::unexpected(helper.error());
  const auto complaint = complaint_of(*helper);
  if (!complaint) return {};
  return fail(EBUSY, fmt::format("fusermount3 refused to unmount {}: {}", shown(at), *complaint));
}

}  // namespace sluice::fuse
