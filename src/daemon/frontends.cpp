#include "daemon/frontends.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {
namespace {

constexpr std::string_view kNames[] = {"ublk", "loop", "fuse"};

}  // namespace

std::string_view to_string(FrontendKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::optional<FrontendKind> parse_frontend(std::string_view name) {
  const auto* const found = std::ranges::find(kNames, name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<FrontendKind>(found - std::begin(kNames));
}

std::span<const std::string_view> frontend_names() { return kNames; }

Result<std::unique_ptr<Frontend>> make_frontend(Stack& stack, const FrontendOptions& options) {
  return ublk::UblkDevice::add(stack, options.device);
}

Result<std::unique_ptr<Frontend>> recover_frontend(Stack& stack, const DeviceRecord& record) {
  const auto mode = ublk::parse_mode(record.mode);
  if (!mode) {
    return fail(EINVAL, fmt::format("the state file of device {} names a mode '{}' that does not "
                                    "exist",
                                    record.id, record.mode));
  }
  return ublk::UblkDevice::recover(stack, record.id, *mode);
}

}  // namespace sluice
