#include "target/qcow2/named_files.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "spec/shown.hpp"

namespace sluice::qcow2 {
namespace {

namespace fs = std::filesystem;

// "nbd://host", "json:{...}", "fat:rw:dir": what QEMU would open by a protocol.
bool has_protocol(std::string_view name) {
  const size_t colon = name.find(':');
  return colon != std::string_view::npos && name.find('/') > colon;
}

}  // namespace

std::optional<NamePolicy> parse_policy(std::string_view text) {
  if (text == "none") return NamePolicy::none;
  if (text == "same-dir") return NamePolicy::same_dir;
  if (text == "any") return NamePolicy::any;
  return std::nullopt;
}

Result<std::string> resolve_name(const std::string& image, const std::string& name,
                                 NamePolicy policy, std::string_view role) {
  const std::string named = fmt::format("{} names {} as its {}", shown(image), shown(name), role);
  if (has_protocol(name)) {
    return fail(EACCES, fmt::format("{}: from an image only local files are opened; describe the"
                                    " other as a spec of its own",
                                    named));
  }
  if (policy == NamePolicy::none) {
    return fail(EACCES, fmt::format("{}, and backing=none allows none", named));
  }
  if (image.empty()) {
    return fail(
        EINVAL,
        fmt::format("{}, which is relative to no directory: the image is not a file", named));
  }
  std::error_code error;
  const fs::path directory = fs::canonical(fs::path(image), error).parent_path();
  const fs::path found = error ? fs::path() : fs::canonical(directory / name, error);
  if (error) return fail(error.value(), fmt::format("{}: {}", named, error.message()));
  if (policy == NamePolicy::same_dir && found.parent_path() != directory) {
    return fail(EACCES, fmt::format("{}, which lies in another directory: allow it with backing=any"
                                    " if you trust the image",
                                    named));
  }
  return found.string();
}

}  // namespace sluice::qcow2
