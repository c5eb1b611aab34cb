// The options of `add` that say how the stack is served.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cli/add_options.hpp"
#include "cli/values.hpp"
#include "frontend/ublk/abi_io.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr uint64_t kMinIoBytes = 4096;

// What --mode and its older spellings name: a mode of ublk, a data path of FUSE, or both.
struct NamedMode {
  std::string option;  // that named it; empty: none
  std::optional<ublk::BufferMode> mode;
  std::optional<fuse::DataPath> path;
};

Outcome<std::optional<FrontendKind>> read_kind(const CommandLine& line);
Outcome<std::optional<FrontendKind>> implied_kind(const CommandLine& line, const NamedMode& mode);
Outcome<void> check_kind(const CommandLine& line, FrontendKind kind, const NamedMode& mode);
std::string ublk_option(const CommandLine& line);
Outcome<ublk::DeviceOptions> read_device(const CommandLine& line);
Outcome<ublk::Recovery> read_recovery(const CommandLine& line);
Outcome<ublk::ModeWish> read_wish(const CommandLine& line, const NamedMode& mode);
Outcome<NamedMode> read_mode(const CommandLine& line);
Outcome<NamedMode> read_mode_name(const std::string& text);

}  // namespace

Outcome<FrontendOptions> read_frontend(const CommandLine& line) {
  FrontendOptions frontend;
  auto device = read_device(line);
  if (!device) return std::unexpected(device.error());
  frontend.device = *device;
  const auto mode = read_mode(line);
  if (!mode) return std::unexpected(mode.error());
  const auto wish = read_wish(line, *mode);
  if (!wish) return std::unexpected(wish.error());
  frontend.device.wish = *wish;
  if (wish->unprivileged && device->recovery != ublk::Recovery::none) {
    return usage(
        "--unprivileged and -r 1 exclude each other: the driver lets no device without "
        "privilege outlive its server");
  }
  frontend.path = mode->path;
  const auto kind = read_kind(line);
  if (!kind) return std::unexpected(kind.error());
  const auto implied = implied_kind(line, *mode);
  if (!implied) return std::unexpected(implied.error());
  frontend.kind = *kind ? *kind : *implied;
  if (frontend.kind) {
    if (auto fits = check_kind(line, *frontend.kind, *mode); !fits) {
      return std::unexpected(fits.error());
    }
  }
  frontend.at = line.text("at");
  frontend.allow_other = line.has("allow_other");
  const auto direct = read_switch(line, "loop_direct_io");
  if (!direct) return std::unexpected(direct.error());
  frontend.buffered_loop = line.has("loop_direct_io") && !*direct;
  return frontend;
}

std::vector<std::string_view> mode_names() {
  std::vector<std::string_view> names(ublk::mode_names().begin(), ublk::mode_names().end());
  for (const std::string_view path : fuse::data_path_names()) {
    if (std::ranges::find(names, path) == names.end()) names.push_back(path);
  }
  return names;
}

namespace {

Outcome<std::optional<FrontendKind>> read_kind(const CommandLine& line) {
  if (!line.has("frontend")) return std::nullopt;
  const std::string name = canonical_name(line.text("frontend"));
  if (const auto kind = parse_frontend(name)) return kind;
  const std::string nearest = did_you_mean(name, frontend_names());
  return usage(fmt::format(
      "unknown front end {}: {}", shown(line.text("frontend")),
      nearest.empty() ? fmt::format("there are {}", fmt::join(frontend_names(), ", ")) : nearest));
}

// What only one front end has asks for that one.
Outcome<std::optional<FrontendKind>> implied_kind(const CommandLine& line, const NamedMode& mode) {
  if (line.has("at") || line.has("allow_other")) return FrontendKind::fuse;
  if (line.has("loop_direct_io") || (mode.path && !mode.mode)) return FrontendKind::loop;
  if (!ublk_option(line).empty() || (mode.mode && !mode.path)) return FrontendKind::ublk;
  return std::nullopt;
}

Outcome<void> check_kind(const CommandLine& line, FrontendKind kind, const NamedMode& mode) {
  const std::string_view name = to_string(kind);
  const bool of_kind = kind == FrontendKind::ublk ? mode.mode.has_value() : mode.path.has_value();
  if (!mode.option.empty() && !of_kind) {
    return usage(fmt::format(
        "{} names a mode that front end '{}' does not have: it has {}", mode.option, name,
        kind == FrontendKind::ublk ? fmt::format("{}", fmt::join(ublk::mode_names(), ", "))
                                   : fmt::format("{}", fmt::join(fuse::data_path_names(), ", "))));
  }
  if (const std::string option = ublk_option(line); kind != FrontendKind::ublk && !option.empty()) {
    return usage(
        fmt::format("{} is for front end 'ublk', not for '{}': drop one of them", option, name));
  }
  for (const char* const option : {"at", "allow_other"}) {
    if (kind == FrontendKind::fuse || !line.has(option)) continue;
    return usage(
        fmt::format("--{} is for front end 'fuse', not for '{}': drop one of them", option, name));
  }
  if (kind != FrontendKind::loop && line.has("loop_direct_io")) {
    return usage(
        fmt::format("--loop_direct_io is for front end 'loop', not for '{}': drop one of "
                    "them",
                    name));
  }
  if (kind == FrontendKind::fuse && !line.has("at")) {
    return usage(
        "front end 'fuse' needs --at PATH: a file or directory where the data is to "
        "appear");
  }
  return {};
}

// An option that was given and that only ublk has, or nothing.
std::string ublk_option(const CommandLine& line) {
  for (const char* const name : {"zerocopy", "unprivileged"}) {
    if (line.has(name)) return line.find(name)->shown();
  }
  for (const char* const name :
       {"user_recovery", "user_recovery_reissue", "user_recovery_fail_io"}) {
    if (line.has(name) && line.text(name) == "1") return line.find(name)->shown();
  }
  return {};
}

Outcome<ublk::DeviceOptions> read_device(const CommandLine& line) {
  ublk::DeviceOptions device;
  const auto id = read_id(line);
  if (!id) return std::unexpected(id.error());
  device.id = id->value_or(ublk::kAnyId);
  const auto queues = read_number(line, "queues", device.queues, {1, ublk::abi::kMaxQueues});
  if (!queues) return std::unexpected(queues.error());
  device.queues = static_cast<uint16_t>(*queues);
  const auto depth = read_number(line, "depth", device.depth, {1, ublk::abi::kMaxQueueDepth});
  if (!depth) return std::unexpected(depth.error());
  device.depth = static_cast<uint16_t>(*depth);
  const auto bytes = read_size(line, "max_io_buf_bytes", device.max_io_bytes,
                               {kMinIoBytes, ublk::abi::kMaxIoBytes});
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes % kMinIoBytes != 0) {
    return usage(fmt::format("--max_io_buf_bytes takes a multiple of 4096, found {}: give {}",
                             *bytes, *bytes / kMinIoBytes * kMinIoBytes));
  }
  device.max_io_bytes = static_cast<uint32_t>(*bytes);
  const auto recovery = read_recovery(line);
  if (!recovery) return std::unexpected(recovery.error());
  device.recovery = *recovery;
  return device;
}

Outcome<ublk::Recovery> read_recovery(const CommandLine& line) {
  const auto wait = read_switch(line, "user_recovery");
  const auto reissue = read_switch(line, "user_recovery_reissue");
  const auto fail_io = read_switch(line, "user_recovery_fail_io");
  for (const auto* const each : {&wait, &reissue, &fail_io}) {
    if (!*each) return std::unexpected(each->error());
  }
  if (*reissue && *fail_io) {
    return usage("-i 1 (repeat requests) and -e 1 (fail them) exclude each other: choose one");
  }
  if ((*reissue || *fail_io) && !*wait) {
    return usage(fmt::format("{} says how to recover, which takes -r 1 as well",
                             *reissue ? "-i 1" : "-e 1"));
  }
  if (*reissue) return ublk::Recovery::reissue;
  if (*fail_io) return ublk::Recovery::fail_io;
  return *wait ? ublk::Recovery::wait : ublk::Recovery::none;
}

Outcome<ublk::ModeWish> read_wish(const CommandLine& line, const NamedMode& mode) {
  ublk::ModeWish wish;
  wish.named = mode.mode;
  wish.zero_copy_required = line.has("zerocopy");
  wish.unprivileged = line.has("unprivileged");
  if (!wish.named || !wish.zero_copy_required || is_zero_copy(*wish.named)) return wish;
  return usage(fmt::format("-z demands zero copy, but mode '{}' copies: drop one of them",
                           to_string(*wish.named)));
}

// --usercopy and -g 1 are ublk's ways to name a mode.
Outcome<NamedMode> read_mode(const CommandLine& line) {
  const auto get_data = read_switch(line, "need_get_data");
  if (!get_data) return std::unexpected(get_data.error());
  std::vector<NamedMode> named;
  if (*get_data) named.push_back({"-g 1", ublk::BufferMode::get_data, {}});
  if (line.has("usercopy")) named.push_back({"--usercopy", ublk::BufferMode::user_copy, {}});
  if (line.has("mode")) {
    auto mode = read_mode_name(line.text("mode"));
    if (!mode) return mode;
    named.push_back(std::move(*mode));
  }
  if (named.empty()) return NamedMode{};
  for (const NamedMode& each : named) {
    if (each.mode == named.front().mode) continue;
    return usage(fmt::format("{} and {} name different modes: drop one of them",
                             named.front().option, each.option));
  }
  return named.front();
}

Outcome<NamedMode> read_mode_name(const std::string& text) {
  const std::string name = canonical_name(text);
  const NamedMode named{"--mode " + name, ublk::parse_mode(name), fuse::parse_data_path(name)};
  if (named.mode || named.path) return named;
  const std::vector<std::string_view> names = mode_names();
  const std::string nearest = did_you_mean(name, names);
  return usage(
      fmt::format("unknown mode {}: {}", shown(text),
                  nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", ")) : nearest));
}

}  // namespace
}  // namespace sluice::cli
