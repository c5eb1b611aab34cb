#include "frontend/ublk/mode.hpp"

#include <fmt/format.h>

#include <array>

#include "frontend/ublk/abi.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::ublk {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"auto", "register", "user_copy", "get_data",
                                                    "copy"};

// Zero-copy devices support explicit copies as well if the driver does: a target can then inspect
// some bytes of some requests.
uint64_t flags_of(BufferMode mode, uint64_t features) {
  switch (mode) {
    case BufferMode::auto_register:
      return abi::kAutoBufReg | abi::kSupportZeroCopy | (features & abi::kUserCopy);
    case BufferMode::register_buf:
      return abi::kSupportZeroCopy | (features & abi::kUserCopy);
    case BufferMode::user_copy:
      return abi::kUserCopy;
    case BufferMode::get_data:
      return abi::kNeedGetDataFeature;
    case BufferMode::copy:
      return 0;
  }
  return 0;
}

uint64_t required_features(BufferMode mode) {
  switch (mode) {
    case BufferMode::auto_register:
      return abi::kAutoBufReg | abi::kSupportZeroCopy;
    case BufferMode::register_buf:
      return abi::kSupportZeroCopy;
    case BufferMode::user_copy:
      return abi::kUserCopy;
    case BufferMode::get_data:
      return abi::kNeedGetDataFeature;
    case BufferMode::copy:
      return 0;
  }
  return 0;
}

// Why `mode` is not possible, or empty.
std::string obstacle(BufferMode mode, const ModeOptions& options, uint64_t features,
                     const Geometry& geometry) {
  const uint64_t missing = required_features(mode) & ~features;
  if (missing != 0) {
    return fmt::format(
        "the ublk driver of this kernel lacks features that mode '{}' needs (see 'sluice "
        "features')",
        to_string(mode));
  }
  if (options.unprivileged && mode <= BufferMode::user_copy) {
    return "the driver refuses it to unprivileged devices";
  }
  if (is_zero_copy(mode) && geometry.needs_bytes) {
    return "a target of this stack must see the data";
  }
  if (mode == BufferMode::auto_register && options.slots_per_ring > KernelRing::kMaxSlots) {
    return fmt::format("{} tags on one ring exceed its buffer table of {} slots",
                       options.slots_per_ring, KernelRing::kMaxSlots);
  }
  return {};
}

}  // namespace

bool is_zero_copy(BufferMode mode) { return mode <= BufferMode::register_buf; }

std::string_view to_string(BufferMode mode) { return kNames[static_cast<size_t>(mode)]; }

std::optional<BufferMode> parse_mode(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<BufferMode>(i);
  }
  return std::nullopt;
}

std::span<const std::string_view> mode_names() { return kNames; }

Result<ModeChoice> choose_mode(const ModeOptions& options, uint64_t features,
                               const Geometry& geometry, const ModeRefusals& refusals) {
  if (options.named) {
    const BufferMode mode = *options.named;
    if (options.zero_copy_required && !is_zero_copy(mode)) {
      return fail(
          EINVAL,
          fmt::format(
              "mode '{}' copies the data, but zero copy was required: drop one of the two options",
              to_string(mode)));
    }
    const std::string why_not = obstacle(mode, options, features, geometry);
    if (!why_not.empty()) {
      return fail(EOPNOTSUPP,
                  fmt::format("mode '{}' is not possible: {}", to_string(mode), why_not));
    }
    return ModeChoice{mode, flags_of(mode, features), "selected by name"};
  }
  std::string reason;  // why the best mode is not possible
  for (size_t i = 0; i < kNames.size(); ++i) {
    const BufferMode mode = static_cast<BufferMode>(i);
    const auto refused = refusals.find(mode);
    const std::string why_not =
        refused != refusals.end() ? refused->second : obstacle(mode, options, features, geometry);
    if (why_not.empty()) {
      if (options.zero_copy_required && !is_zero_copy(mode)) break;
      return ModeChoice{mode, flags_of(mode, features), reason};
    }
    if (reason.empty()) reason = fmt::format("not '{}': {}", to_string(mode), why_not);
  }
  return fail(EOPNOTSUPP, fmt::format("zero copy was required but is not possible ({})", reason));
}

}  // namespace sluice::ublk
