#include "daemon/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace sluice {
namespace {

constexpr uint32_t kLogBytes = 1 << 20;
constexpr size_t kKeptLines = 64;

// Set once, before the process has threads.
bool has_own_mounts = false;
Viewpoint before;

void log_failure(const char* what) { spdlog::debug("cannot {}: {}", what, std::strerror(errno)); }

// Whether the server may still need what is mounted there: the root, system directories that nobody
// unmounts, and what holds its state.
bool is_needed(const std::string& mount_point, const std::string& kept) {
  constexpr std::string_view kSystem[] = {"/", "/dev", "/proc", "/sys", "/run"};
  if (std::ranges::find(kSystem, mount_point) != std::end(kSystem)) return true;
  return kept.starts_with(mount_point) &&
         (kept.size() == mount_point.size() || kept[mount_point.size()] == '/');
}

// Mount points contain no white space: the kernel writes \040 for a blank.
std::vector<std::string> mount_points() {
  std::vector<std::string> points;
  std::ifstream file("/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string skipped;
    std::string point;
    fields >> skipped >> skipped >> skipped >> skipped >> point;
    points.push_back(point);
  }
  return points;
}

std::string unescape(const std::string& point) {
  std::string plain;
  for (size_t i = 0; i < point.size(); ++i) {
    if (point[i] == '\\' && i + 3 < point.size()) {
      plain.push_back(static_cast<char>(std::stoi(point.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      plain.push_back(point[i]);
    }
  }
  return plain;
}

bool make_mounts_private() {
  return mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// A chroot need not be a mount point, and only of one can it be said. setns() leads out of it.
bool make_mounts_private_from_chroot() {
  const Descriptor mounts(open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC));
  const Descriptor root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Descriptor directory(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (setns(mounts.number(), CLONE_NEWNS) != 0) return false;
  const bool made = make_mounts_private();
  const bool back = fchdir(root.number()) == 0 && chroot(".") == 0;
  return fchdir(directory.number()) == 0 && back && made;
}

// Whether the other side took it: it is gone when the caller was interrupted.
bool send(int pipe, const nlohmann::json& message) {
  const std::string text = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const ssize_t written = write(pipe, text.data(), text.size());
  close(pipe);
  return written == static_cast<ssize_t>(text.size());
}

// In the one hierarchy of version 2; empty where there is none.
std::string cgroup_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/cgroup", pid));
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

// Away from the terminal and from the caller's directory and files.
void detach() {
  setsid();
  [[maybe_unused]] const int moved = chdir("/");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, file);
  close(null);
}

[[noreturn]] void serve_in_child(int pipe, const std::function<Result<void>(const Ready&)>& serve) {
  detach();
  signal(SIGPIPE, SIG_IGN);
  bool reported = false;
  const Ready ready = [&](const Announcement& announcement) {
    reported = true;
    return send(pipe, {{"id", announcement.id}, {"notes", announcement.notes}});
  };
  const auto served = serve(ready);
  if (!served && !std::exchange(reported, true)) {
    send(pipe, {{"errno", served.error().error}, {"error", served.error().text}});
  }
  spdlog::shutdown();
  _exit(served ? 0 : 1);
}

Result<Announcement> receive(int pipe) {
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t length = 0;
  while ((length = read(pipe, buffer.data(), buffer.size())) > 0 ||
         (length < 0 && errno == EINTR)) {
    if (length > 0) text.append(buffer.data(), static_cast<size_t>(length));
  }
  try {
    const nlohmann::json message = nlohmann::json::parse(text);
    if (message.contains("error")) {
      return fail(message.at("errno").get<int>(), message.at("error").get<std::string>());
    }
    return Announcement{.id = message.at("id").get<uint32_t>(),
                        .notes = message.at("notes").get<std::vector<std::string>>()};
  } catch (const nlohmann::json::exception&) {
    return fail(ECHILD,
                "the server of the device ended before it was ready, without a word: look "
                "at the system log");
  }
}

}  // namespace

void protect_process() {
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) log_failure("become an I/O flusher");
  // MCL_ONFAULT: locks what is used, not what is only reserved.
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) log_failure("lock memory");
  std::ofstream score("/proc/self/oom_score_adj");
  score << -1000 << std::flush;
  if (!score) log_failure("change the out-of-memory score");
}

void join_cgroup_of(int pid) {
  const std::string group = cgroup_of(pid);
  if (group.empty() || group == cgroup_of(getpid())) return;
  std::ofstream members(fmt::format("/sys/fs/cgroup{}/cgroup.procs", group));
  members << getpid() << std::flush;
  if (!members) log_failure("join the old server's control group");
}

void leave_mount_namespace() {
  before = Viewpoint::here();
  if (unshare(CLONE_NEWNS) != 0) {
    log_failure("get a mount namespace");
    return;
  }
  has_own_mounts = make_mounts_private() || make_mounts_private_from_chroot();
  if (!has_own_mounts) log_failure("make the mounts private");
}

const Viewpoint& home() { return before; }

void drop_mounts(const std::string& kept) {
  if (!has_own_mounts) return;
  // Innermost first.
  std::vector<std::string> points = mount_points();
  std::ranges::reverse(points);
  for (const std::string& point : points) {
    const std::string plain = unescape(point);
    if (!is_needed(plain, kept)) umount2(plain.c_str(), MNT_DETACH);
  }
}

Result<Announcement> run_in_background(const std::function<Result<void>(const Ready&)>& serve) {
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
    serve_in_child(pipe[1], serve);
  }
  close(pipe[1]);
  auto report = receive(pipe[0]);
  close(pipe[0]);
  if (!report) waitpid(child, nullptr, 0);
  return report;
}

LogKeeper::LogKeeper() : sink_(std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(kKeptLines)) {
  auto logger = std::make_shared<spdlog::logger>("sluice", sink_);
  logger->set_pattern("%v");
  spdlog::set_default_logger(logger);
}

std::vector<std::string> LogKeeper::lines() const {
  std::vector<std::string> lines = sink_->last_formatted();
  for (std::string& line : lines) {
    while (line.ends_with('\n')) line.pop_back();
  }
  return lines;
}

void start_logging(bool foreground, const std::string& path, uint32_t debug_mask) {
  spdlog::sink_ptr sink;
  try {
    if (foreground) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else if (access("/dev/log", F_OK) == 0) {
      sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("sluice", LOG_PID, LOG_DAEMON, true);
    } else {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kLogBytes, 1);
    }
  } catch (const spdlog::spdlog_ex&) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();  // there is no other place
  }
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("sluice", sink));
  spdlog::set_level(debug_mask == 0 ? spdlog::level::info : spdlog::level::debug);
  spdlog::flush_on(spdlog::level::debug);
}

}  // namespace sluice
