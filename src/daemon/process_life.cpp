#include "daemon/process_life.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr const char* kUnknownScope = "unknown";
constexpr size_t kBootIdBytes = 36;  // a UUID as text

constexpr uint64_t kExiting = 0x4;  // PF_EXITING

struct ProcessStat {
  char state = '?';
  uint64_t flags = 0;
  uint64_t threads = 0;
  uint64_t started = 0;
};

// The number of a namespace of this process, unique among existing namespaces.
std::string namespace_number(const char* name) {
  struct stat status{};
  if (stat(fmt::format("/proc/self/ns/{}", name).c_str(), &status) != 0) return kUnknownScope;
  return fmt::format("{}", status.st_ino);
}

std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string_view namespace_of(std::string_view scope) { return scope.substr(0, scope.find(' ')); }

bool is_of_another_boot(std::string_view scope, std::string_view here) {
  if (scope.size() < kBootIdBytes || here.size() < kBootIdBytes) return false;
  const auto boot_of = [](std::string_view text) {
    return text.substr(text.size() - kBootIdBytes);
  };
  // A scope without a known boot ends in kUnknownScope.
  const bool known = !scope.ends_with(kUnknownScope) && !here.ends_with(kUnknownScope);
  return known && boot_of(scope) != boot_of(here);
}

// True if /proc belongs to our pid namespace: a process that enters a new one sees the old /proc
// until it is mounted again.
bool proc_counts_as_we_do() {
  std::array<char, 32> text{};
  const ssize_t length = readlink("/proc/self", text.data(), text.size());
  return length > 0 &&
         fmt::format("{}", getpid()) == std::string_view(text.data(), static_cast<size_t>(length));
}

// Fields 3, 9, 20 and 22 of /proc/PID/stat, counted after the name, which may contain any bytes but
// ends at the last ')'.
std::optional<ProcessStat> read_stat(int pid) {
  const std::string path = pid == getpid() ? "/proc/self/stat" : fmt::format("/proc/{}/stat", pid);
  const std::string text = first_line_of(path);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int i = 4; i < 9; ++i) fields >> skipped;
  fields >> stat.flags;
  for (int i = 10; i < 20; ++i) fields >> skipped;
  if (!(fields >> stat.threads >> skipped >> stat.started)) return std::nullopt;
  return stat;
}

// SIGKILL is pending.
bool was_killed(int pid) {
  constexpr uint64_t kKilled = uint64_t{1} << (SIGKILL - 1);
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
    if ((std::strtoull(line.c_str() + 7, nullptr, 16) & kKilled) != 0) return true;
  }
  return false;
}

bool has_ended(const ProcessStat& stat) { return stat.state == 'Z' || stat.state == 'X'; }

template <typename Number>
bool take_number(std::string_view& text, Number& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  return true;
}

bool take_dot(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

ProcessMark this_process() {
  return {.pid = getpid(),
          .started = process_start_time(getpid()).value_or(0),
          .scope = process_scope()};
}

std::string process_scope() {
  std::string boot = first_line_of("/proc/sys/kernel/random/boot_id");
  if (boot.size() != kBootIdBytes) boot = kUnknownScope;
  return fmt::format("{} {} {}", namespace_number("pid"), namespace_number("time"), boot);
}

bool counts_as_here(const ProcessMark& mark) {
  if (mark.scope.empty()) return true;  // from an older version, without scopes
  return mark.scope == process_scope() && namespace_of(mark.scope) != kUnknownScope;
}

Life life_of(const ProcessMark& mark) {
  if (!counts_as_here(mark)) {
    return is_of_another_boot(mark.scope, process_scope()) ? Life::dead : Life::unknown;
  }
  if (mark.pid <= 0) return Life::unknown;
  const auto is_gone = [&] { return kill(mark.pid, 0) != 0 && errno == ESRCH; };
  if (is_gone()) return Life::dead;
  const auto stat = proc_counts_as_we_do() ? read_stat(mark.pid) : std::nullopt;
  if (!stat) return is_gone() ? Life::dead : Life::unknown;
  if (mark.started != 0 && stat->started != mark.started) return Life::dead;
  if (has_ended(*stat)) return stat->threads > 1 ? Life::ending : Life::dead;
  if ((stat->flags & kExiting) != 0 || was_killed(mark.pid)) return Life::ending;
  return mark.started == 0 ? Life::unknown : Life::alive;
}

std::string mark_suffix() {
  const ProcessMark mark = this_process();
  return fmt::format("{}.{}.{}", mark.pid, mark.started, namespace_of(mark.scope));
}

std::optional<ProcessMark> parse_mark_suffix(std::string_view text) {
  ProcessMark mark;
  if (!take_number(text, mark.pid) || mark.pid <= 0) return std::nullopt;
  if (text.empty()) return mark;
  if (!take_dot(text) || !take_number(text, mark.started) || !take_dot(text)) return std::nullopt;
  const std::string here = process_scope();
  mark.scope = text == namespace_of(here) ? here : text;
  return mark;
}

std::optional<uint64_t> process_start_time(int pid) {
  const auto stat = read_stat(pid);
  if (!stat || has_ended(*stat)) return std::nullopt;
  return stat->started;
}

std::string describe_process(int pid) {
  const std::string name = first_line_of(fmt::format("/proc/{}/comm", pid));
  if (name.empty()) return fmt::format("process {}", pid);
  return fmt::format("process {} ({})", pid, printable(name, std::string::npos));
}

}  // namespace sluice
