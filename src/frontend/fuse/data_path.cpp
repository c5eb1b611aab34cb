#include "frontend/fuse/data_path.hpp"

#include <fmt/format.h>

#include <array>

#include "frontend/fuse/abi.hpp"

namespace sluice::fuse {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"passthrough", "uring_zc", "uring", "copy",
                                                    "splice"};

// Why uring_zc is never selected automatically: docs/FUSE.md has the evidence.
constexpr std::string_view kOnlyByName =
    "only by name, because a loop device on it corrupts the memory of Linux 7.3";

// Why `path` is not possible, or empty.
std::string obstacle(DataPath path, const PathFacts& facts) {
  switch (path) {
    case DataPath::passthrough:
      if ((facts.kernel_flags & abi::kPassthrough) == 0) {
        return "this kernel's FUSE has no passthrough (Linux 6.9 has)";
      }
      return facts.bars_passthrough;
    case DataPath::uring_zc:
      if ((facts.kernel_flags & abi::kOverIoUring) == 0 ||
          (facts.kernel_flags & abi::kIoUringPools) == 0) {
        return "it needs FUSE over io_uring of Linux 7.3";
      }
      return facts.bars_zero_copy;
    case DataPath::uring:
      if ((facts.kernel_flags & abi::kOverIoUring) == 0) {
        return "this kernel does not offer FUSE over io_uring: it needs Linux 6.14 and 'echo Y > "
               "/sys/module/fuse/parameters/enable_uring'";
      }
      return facts.bars_uring;
    case DataPath::copy:
    case DataPath::splice:
      return {};
  }
  return {};
}

}  // namespace

std::string_view to_string(DataPath path) { return kNames[static_cast<size_t>(path)]; }

bool is_over_uring(DataPath path) { return path == DataPath::uring || path == DataPath::uring_zc; }

std::optional<DataPath> parse_data_path(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<DataPath>(i);
  }
  return std::nullopt;
}

std::span<const std::string_view> data_path_names() { return kNames; }

Result<PathChoice> choose_path(std::optional<DataPath> named, const PathFacts& facts) {
  if (named) {
    const std::string why_not = obstacle(*named, facts);
    if (why_not.empty()) return PathChoice{*named, "selected by name"};
    return fail(EOPNOTSUPP,
                fmt::format("data path '{}' is not possible: {}", to_string(*named), why_not));
  }
  PathChoice choice;
  for (size_t i = 0; i < kNames.size(); ++i) {
    choice.path = static_cast<DataPath>(i);
    std::string why_not = obstacle(choice.path, facts);
    if (why_not.empty() && choice.path == DataPath::uring_zc) why_not = kOnlyByName;
    if (why_not.empty()) break;
    choice.reason += fmt::format("{}not '{}': {}", choice.reason.empty() ? "" : "; ",
                                 to_string(choice.path), why_not);
  }
  return choice;
}

}  // namespace sluice::fuse
