#include "target/rbd/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "spec/duration.hpp"
#include "spec/shown.hpp"

namespace sluice::rbd {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kDefaultConf = "/etc/ceph/ceph.conf";
constexpr std::string_view kDefaultId = "admin";
constexpr std::chrono::seconds kTimeoutDefault = 60s;
constexpr std::chrono::seconds kTimeoutMin = 1s;
constexpr std::chrono::seconds kTimeoutMax = 1h;
constexpr std::string_view kForm =
    "write rbd:POOL/IMAGE, POOL/NAMESPACE/IMAGE or POOL/IMAGE@SNAPSHOT";

std::vector<std::string> split(std::string_view text, char divider) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = text.find(divider);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// The library counts whole seconds.
Result<std::chrono::seconds> read_timeout(const Spec& spec) {
  if (!spec.has("timeout")) return kTimeoutDefault;
  const std::string text = spec.text("timeout");
  const auto duration = parse_duration(text);
  if (duration && *duration >= kTimeoutMin && *duration <= kTimeoutMax) {
    return std::chrono::ceil<std::chrono::seconds>(*duration);
  }
  return fail(EINVAL, fmt::format("rbd: timeout is {}; it needs a time from {}s to {}s with its "
                                  "unit, such as 30s or 2m",
                                  shown(text), kTimeoutMin.count(), kTimeoutMax.count()));
}

}  // namespace

std::string ImageName::text() const {
  return fmt::format("{}/{}{}{}{}{}", pool, name_space, name_space.empty() ? "" : "/", image,
                     snapshot.empty() ? "" : "@", snapshot);
}

Result<ImageName> parse_image_name(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(EINVAL, fmt::format("rbd: {} {}: {}", shown(text), why, kForm));
  };
  if (text.find('\0') != std::string_view::npos) return refuse("holds a zero byte");
  const auto parts = split(text, '/');
  if (parts.size() < 2) return refuse("names no pool");
  if (parts.size() > 3) return refuse("has too many slashes");
  const auto names = split(parts.back(), '@');
  if (names.size() > 2) return refuse("has more than one @");
  ImageName name{.pool = parts.front(),
                 .name_space = parts.size() == 3 ? parts[1] : std::string(),
                 .image = names.front(),
                 .snapshot = names.size() == 2 ? names[1] : std::string()};
  const bool is_complete = std::ranges::none_of(parts, &std::string::empty) &&
                           std::ranges::none_of(names, &std::string::empty);
  if (!is_complete) return refuse("has an empty name");
  const bool has_at = std::ranges::any_of(
      parts.begin(), parts.end() - 1, [](const std::string& part) { return part.contains('@'); });
  if (has_at) return refuse("has an @ that follows no image");
  return name;
}

Result<Options> read_options(const Spec& spec) {
  auto name = parse_image_name(spec.text("image"));
  if (!name) return std::unexpected(name.error());
  const auto timeout = read_timeout(spec);
  if (!timeout) return std::unexpected(timeout.error());
  Options options{.name = std::move(*name),
                  .conf = spec.has("conf") ? spec.text("conf") : std::string(kDefaultConf),
                  .id = spec.has("id") ? spec.text("id") : std::string(kDefaultId),
                  .keyring = spec.text("keyring"),
                  .exclusive = !spec.has("exclusive") || spec.flag("exclusive"),
                  .read_only = spec.flag("read_only"),
                  .timeout = *timeout};
  if (options.id.empty() || options.id.starts_with("client.")) {
    return fail(EINVAL, fmt::format("rbd: id is {}; it is the part behind 'client.', such as admin",
                                    shown(options.id)));
  }
  return options;
}

}  // namespace sluice::rbd
