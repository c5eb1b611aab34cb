#include <fmt/format.h>

#include "cli/features.hpp"
#include "cli/show.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/mode.hpp"

namespace sluice::cli {
namespace {

namespace abi = ublk::abi;

constexpr Feature kFeatures[] = {
    {abi::kSupportZeroCopy, "ZERO_COPY", "SUPPORT_ZERO_COPY"},
    {abi::kUringCmdCompInTask, "COMP_IN_TASK", "URING_CMD_COMP_IN_TASK"},
    {abi::kNeedGetDataFeature, "GET_DATA", "NEED_GET_DATA"},
    {abi::kUserRecovery, "USER_RECOVERY", "RECOVERY"},
    {abi::kUserRecoveryReissue, "RECOVERY_REISSUE", "RECOVERY_REISSUE"},
    {abi::kUnprivilegedDev, "UNPRIVILEGED_DEV", "UNPRIVILEGED_DEV"},
    {abi::kCmdIoctlEncode, "CMD_IOCTL_ENCODE", "CMD_IOCTL_ENCODE"},
    {abi::kUserCopy, "USER_COPY", "USER_COPY"},
    {abi::kZoned, "ZONED", "ZONED"},
    {abi::kUserRecoveryFailIo, "RECOVERY_FAIL_IO", "RECOVERY_FAIL_IO"},
    {abi::kUpdateSize, "UPDATE_SIZE", "UPDATE_SIZE"},
    {abi::kAutoBufReg, "AUTO_ZC", "AUTO_ZC"},
    {abi::kQuiesce, "QUIESCE", "QUIESCE"},
    {abi::kPerIoDaemon, "PER_IO_DAEMON", "PER_IO_DAEMON"},
    {abi::kBufRegOffDaemon, "BUF_REG_OFF_DAEMON", "BUF_REG_OFF_DAEMON"},
    {abi::kBatchIo, "BATCH_IO", "BATCH_IO"},
    {abi::kIntegrity, "INTEGRITY", "INTEGRITY"},
    {abi::kSafeStopDev, "SAFE_STOP_DEV", "SAFE_STOP_DEV"},
    {abi::kNoAutoPartScan, "NO_AUTO_PART_SCAN", "NO_AUTO_PART_SCAN"},
    {abi::kShmemZc, "SHMEM_ZC", "SHMEM_ZC"},
    {abi::kIoDescSize, "IO_DESC_SIZE", "IO_DESC_SIZE"},
};

std::string lower_case(std::string_view name);
Json mode_json(std::string_view name, uint64_t driver);
Json target_json(const TargetSyntax& target);
Json option_json(const OptionSyntax& option);
std::string_view kind_name(OptionKind kind);
std::string children_text(const TargetSyntax& target);

}  // namespace

std::span<const Feature> features() { return kFeatures; }

// Missing features are in lower case, so that a search for a name finds only present ones.
std::string features_text(uint64_t driver) {
  std::string text = fmt::format("ublk_drv features: 0x{:x}\n", driver);
  uint64_t unknown = driver;
  for (const Feature& feature : kFeatures) {
    unknown &= ~feature.bit;
    if ((driver & feature.bit) != 0) {
      text += fmt::format("\t{:<20}: 0x{:x}\n", feature.name, feature.bit);
    }
  }
  for (uint64_t bit = 1; bit != 0; bit <<= 1) {
    if ((unknown & bit) != 0) text += fmt::format("\t{:<20}: 0x{:x}\n", "unknown", bit);
  }
  for (const Feature& feature : kFeatures) {
    if ((driver & feature.bit) == 0) {
      text += fmt::format("\t{:<20}: 0x{:x} missing\n", lower_case(feature.name), feature.bit);
    }
  }
  text += "buffer modes, the best first:\n";
  for (const std::string_view name : ublk::mode_names()) {
    const auto choice = ublk::choose_mode({.named = ublk::parse_mode(name)}, driver, Geometry{});
    text += fmt::format("\t{:<20}: {}\n", name, choice ? "can be used" : choice.error().text);
  }
  return text;
}

Json features_json(uint64_t driver) {
  Json list = Json::array();
  for (const Feature& feature : kFeatures) {
    list.push_back(
        {{"name", feature.name}, {"bit", feature.bit}, {"present", (driver & feature.bit) != 0}});
  }
  Json modes = Json::array();
  for (const std::string_view name : ublk::mode_names()) modes.push_back(mode_json(name, driver));
  return {{"features", driver}, {"known", list}, {"modes", modes}};
}

std::string targets_text(std::span<const TargetSyntax> targets) {
  std::string text;
  for (const TargetSyntax& target : targets) {
    text += fmt::format("{}: {}{}\n", target.name, target.summary, children_text(target));
    for (const OptionSyntax& option : target.options) {
      std::string help(option.help);
      if (option.required) help += " (required)";
      if (!option.fallback.empty()) help += fmt::format(" (default {})", option.fallback);
      text += fmt::format("  {:<18}{:<7}{}\n", option.name, kind_name(option.kind), help);
    }
  }
  return text;
}

Json targets_json(std::span<const TargetSyntax> targets) {
  Json list = Json::array();
  for (const TargetSyntax& target : targets) list.push_back(target_json(target));
  return list;
}

namespace {

std::string lower_case(std::string_view name) {
  std::string lower(name);
  for (char& each : lower) {
    if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
  }
  return lower;
}

Json mode_json(std::string_view name, uint64_t driver) {
  const auto choice = ublk::choose_mode({.named = ublk::parse_mode(name)}, driver, Geometry{});
  Json json = {{"name", name}, {"usable", choice.has_value()}};
  if (!choice) json.set("reason", choice.error().text);
  return json;
}

Json target_json(const TargetSyntax& target) {
  Json options = Json::array();
  for (const OptionSyntax& option : target.options) options.push_back(option_json(option));
  const bool is_bounded = target.children_maximum != UINT32_MAX;
  const bool is_leaf = !target.leaf_option.empty();
  Json schemes = Json::array();
  for (const std::string_view scheme : target.schemes) schemes.push_back(scheme);
  return {{"name", target.name},
          {"summary", target.summary},
          {"children_minimum", target.children_minimum},
          {"children_maximum", is_bounded ? Json(target.children_maximum) : Json()},
          {"leaf_option", is_leaf ? Json(target.leaf_option) : Json()},
          {"prefix", is_leaf ? Json(target.prefix.empty() ? target.name : target.prefix) : Json()},
          {"schemes", std::move(schemes)},
          {"options", std::move(options)}};
}

Json option_json(const OptionSyntax& option) {
  Json json = {{"name", option.name},
               {"kind", kind_name(option.kind)},
               {"required", option.required},
               {"default", option.fallback.empty() ? Json() : Json(option.fallback)},
               {"help", option.help}};
  if (option.kind == OptionKind::size || option.kind == OptionKind::count) {
    json.set("minimum", option.minimum);
    json.set("maximum", option.maximum == UINT64_MAX ? Json() : Json(option.maximum));
  }
  return json;
}

std::string_view kind_name(OptionKind kind) {
  switch (kind) {
    case OptionKind::size:
      return "size";
    case OptionKind::count:
      return "count";
    case OptionKind::flag:
      return "flag";
    case OptionKind::text:
      return "text";
    case OptionKind::path:
      return "path";
    case OptionKind::spec:
      return "spec";
  }
  return "";
}

std::string children_text(const TargetSyntax& target) {
  if (target.children_maximum == 0) return {};
  if (target.children_maximum == UINT32_MAX) {
    return fmt::format(", {} or more children", target.children_minimum);
  }
  if (target.children_minimum == target.children_maximum) {
    return fmt::format(", {} {}", target.children_minimum,
                       target.children_minimum == 1 ? "child" : "children");
  }
  return fmt::format(", {} to {} children", target.children_minimum, target.children_maximum);
}

}  // namespace
}  // namespace sluice::cli
