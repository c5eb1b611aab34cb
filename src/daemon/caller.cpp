#include "daemon/caller.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "daemon/whole_number.hpp"
#include "target/registry.hpp"

namespace sluice {
namespace {

std::optional<int> named_descriptor(std::string_view path) {
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (path.starts_with(folder)) return whole_number(path.substr(folder.size()));
  }
  return std::nullopt;
}

bool is_spec(std::string_view target, std::string_view option) {
  const TargetType* const type = find_target_type(target);
  if (type == nullptr) return false;
  const auto found = std::ranges::find(type->syntax.options, option, &OptionSyntax::name);
  return found != type->syntax.options.end() && found->kind == OptionKind::spec;
}

void find_named(const Spec& spec, std::vector<int>& found) {
  for (const auto& [name, value] : spec.options) {
    const auto* const text = std::get_if<std::string>(&value);
    if (text == nullptr) continue;
    if (const auto number = named_descriptor(*text)) found.push_back(*number);
    if (!is_spec(spec.target, name)) continue;
    if (const auto written = parse_spec(*text, target_vocabulary())) find_named(*written, found);
  }
  for (const Spec& child : spec.children) find_named(child, found);
}

}  // namespace

void leave_caller(std::span<const int> kept) {
  std::vector<int> needed(kept.begin(), kept.end());
  std::ranges::sort(needed);
  int first = STDERR_FILENO + 1;
  for (const int each : needed) {
    if (each < first) continue;
    if (each > first) {
      close_range(static_cast<unsigned>(first), static_cast<unsigned>(each - 1), 0);
    }
    fcntl(each, F_SETFD, FD_CLOEXEC);
    first = each + 1;
  }
  close_range(static_cast<unsigned>(first), ~0U, 0);
  for (int each = 1; each < NSIG; ++each) signal(each, SIG_DFL);
  for (const int each : {SIGPIPE, SIGXFSZ}) signal(each, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
}

std::vector<int> named_descriptors(const Spec& spec) {
  std::vector<int> found;
  find_named(spec, found);
  return found;
}

}  // namespace sluice
