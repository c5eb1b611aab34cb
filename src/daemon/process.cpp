#include "daemon/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"
#include "core/mounts.hpp"
#include "core/read_to_end.hpp"
#include "daemon/caller.hpp"
#include "daemon/event_log.hpp"
#include "daemon/log.hpp"
#include "spec/json_value.hpp"

namespace sluice {
namespace {

// Set once, before the process has threads.
bool has_own_mounts = false;

void log_failure(const char* what) { spdlog::debug("cannot {}: {}", what, std::strerror(errno)); }

// True if the server may still need the mount: the root, system directories that are never
// unmounted, and the file system of its state.
bool is_needed(const std::string& mount_point, const std::string& kept) {
  constexpr std::string_view kSystem[] = {"/", "/dev", "/proc", "/sys", "/run"};
  if (std::ranges::find(kSystem, mount_point) != std::end(kSystem)) return true;
  return kept.starts_with(mount_point) &&
         (kept.size() == mount_point.size() || kept[mount_point.size()] == '/');
}

bool make_mounts_private() {
  return mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// The root of a chroot need not be a mount point, but only a mount point can be made private.
// setns() leaves a chroot.
bool make_mounts_private_from_chroot() {
  const Descriptor mounts(open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC));
  const Descriptor root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Descriptor directory(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (setns(mounts.number(), CLONE_NEWNS) != 0) return false;
  const bool made = make_mounts_private();
  const bool back = fchdir(root.number()) == 0 && chroot(".") == 0;
  return fchdir(directory.number()) == 0 && back && made;
}

// False: the other side has gone, as after an interrupt of the caller.
bool send(int pipe, const JsonValue& message) {
  const std::string text = to_text(message);
  const ssize_t written = write(pipe, text.data(), text.size());
  close(pipe);
  return written == static_cast<ssize_t>(text.size());
}

// In the version 2 hierarchy; empty if there is none.
std::string cgroup_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/cgroup", pid));
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

// Detaches from the terminal and from the caller's directory and files.
void detach() {
  setsid();
  [[maybe_unused]] const int moved = chdir("/");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, file);
  close(null);
}

[[noreturn]] void serve_in_child(int pipe, const std::function<Result<void>(const Ready&)>& serve,
                                 std::span<const int> kept) {
  detach();
  std::vector<int> needed(kept.begin(), kept.end());
  needed.push_back(pipe);
  leave_caller(needed);
  bool reported = false;
  const Ready ready = [&](const Announcement& announcement) {
    reported = true;
    return send(pipe, {{"id", announcement.id}, {"notes", announcement.notes}});
  };
  const auto served = serve(ready);
  if (!served && !std::exchange(reported, true)) {
    send(pipe, {{"errno", served.error().error}, {"error", served.error().text}});
  }
  finish_logging();
  finish_events();
  _exit(served ? 0 : 1);
}

Result<Announcement> receive(int pipe) {
  try {
    const JsonValue message =
        parse_json_tree(read_to_end(pipe), kMessageNestingMax).value_or(JsonValue());
    if (message.contains("error")) {
      return fail(message.at("errno").get<int>(), message.at("error").get<std::string>());
    }
    return Announcement{.id = message.at("id").get<uint32_t>(),
                        .notes = message.at("notes").get<std::vector<std::string>>()};
  } catch (const JsonMismatch&) {
    return fail(ECHILD,
                "the server of the device ended before it was ready, without a message: see the "
                "system log");
  }
}

}  // namespace

void end_at_once_when_crashed() {
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer) && \
    !__has_feature(thread_sanitizer)
  struct sigaction action{};
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  action.sa_handler = [](int number) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    raise(number);  // pending until this returns
  };
  for (const int each : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) {
    sigaction(each, &action, nullptr);
  }
#endif
}

void join_cgroup_of(int pid) {
  const std::string group = cgroup_of(pid);
  if (group.empty() || group == cgroup_of(getpid())) return;
  std::ofstream members(fmt::format("/sys/fs/cgroup{}/cgroup.procs", group));
  members << getpid() << std::flush;
  if (!members) log_failure("join the old server's control group");
}

void leave_mount_namespace() {
  if (unshare(CLONE_NEWNS) != 0) {
    log_failure("create a mount namespace");
    return;
  }
  has_own_mounts = make_mounts_private() || make_mounts_private_from_chroot();
  if (!has_own_mounts) log_failure("make the mounts private");
}

void drop_mounts(const std::string& kept) {
  if (!has_own_mounts) return;
  // Outermost first: this also unmounts everything below, without looking up its paths, which could
  // block on a file system that hangs.
  std::string last;
  for (const Mount& mount : read_mounts()) {
    const std::string& point = mount.point;
    if (is_needed(point, kept) || (!last.empty() && point.starts_with(last + '/'))) continue;
    if (umount2(point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) last = point;
  }
}

Result<Announcement> run_in_background(const std::function<Result<void>(const Ready&)>& serve,
                                       std::span<const int> kept) {
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) return fail(errno, "cannot make a pipe");
  const pid_t child = fork();
  if (child < 0) {
    const int cause = errno;
    close(pipe[0]);
    close(pipe[1]);
    return fail(cause, fmt::format("cannot start a server process: {}", std::strerror(cause)));
  }
  if (child == 0) {
    close(pipe[0]);
    serve_in_child(pipe[1], serve, kept);
  }
  close(pipe[1]);
  auto report = receive(pipe[0]);
  close(pipe[0]);
  if (!report) waitpid(child, nullptr, 0);
  return report;
}

}  // namespace sluice
