#include "frontend/fuse/fusermount.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

constexpr const char* kHelper = "fusermount3";
constexpr const char* kSocketVariable = "_FUSE_COMMFD";

// Starts the helper; gives its process id. `extra` is an environment variable, or empty.
Result<pid_t> start(std::vector<std::string> arguments, std::string extra) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.push_back(*variable);
  if (!extra.empty()) environment.push_back(extra.data());
  environment.push_back(nullptr);
  pid_t process = 0;
  const int error =
      posix_spawnp(&process, kHelper, nullptr, nullptr, argv.data(), environment.data());
  if (error == 0) return process;
  if (error == ENOENT) {
    return fail(ENOENT,
                "users other than root mount through fusermount3, which is not installed: install "
                "the package fuse3");
  }
  return fail(error, fmt::format("cannot start fusermount3: {}", std::strerror(error)));
}

bool succeeded(pid_t process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The descriptor that comes over the socket; none when the helper ended without one.
Descriptor receive_descriptor(int socket) {
  char byte = 0;
  iovec place{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received = 0;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  const cmsghdr* const header = received > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return {};
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof(descriptor));
  return Descriptor(descriptor);
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
  const bool mounted = succeeded(*helper);
  if (mounted && device.valid()) return device;
  return fail(EPERM, fmt::format("fusermount3 would not mount on {}: it says why on the standard "
                                 "error; the place must be yours and writable, /dev/fuse open to "
                                 "you, and --allow-other takes user_allow_other in /etc/fuse.conf",
                                 shown(at)));
}

Result<void> unmount_by_fusermount(const std::string& at, bool lazily) {
  std::vector<std::string> arguments = {kHelper, "-u", "-q"};
  if (lazily) arguments.emplace_back("-z");
  arguments.emplace_back("--");
  arguments.push_back(at);
  auto helper = start(std::move(arguments), {});
  if (!helper) return std::unexpected(helper.error());
  if (succeeded(*helper)) return {};
  return fail(EBUSY, fmt::format("fusermount3 would not unmount {}: it is in use", shown(at)));
}

}  // namespace sluice::fuse
