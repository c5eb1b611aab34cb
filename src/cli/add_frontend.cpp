// The options of `add` for the front end.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <ranges>
#include <vector>

#include "cli/add_options.hpp"
#include "cli/values.hpp"
#include "frontend/registry.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kServesMany = "serve";  // the command that has no choice
constexpr uint64_t kMinIoBytes = 4096;
constexpr uint64_t kMaxReserveBytes = 1 << 30;

// The mode that --mode, or another option, names.
struct NamedMode {
  std::string option;  // the option used; empty: none
  std::string name;
};

void declare(CommandLine& line, const FrontendOption& option);
const FrontendType& network_frontend();
Outcome<void> read_common(const CommandLine& line, FrontendOptions& options);
Outcome<void> read_own(const CommandLine& line, FrontendOptions& options);
Outcome<NamedMode> read_mode(const CommandLine& line);
Outcome<NamedMode> read_mode_name(const std::string& text);
Outcome<const FrontendType*> read_type(const CommandLine& line);
const FrontendType* implied_type(const CommandLine& line, const NamedMode& mode);
Outcome<void> check_type(const CommandLine& line, const FrontendType& type, const NamedMode& mode);
std::string absolute_addresses(std::string_view lines, const std::filesystem::path& directory);
bool has_mode(const FrontendType& type, std::string_view mode);
bool has_option(const FrontendType& type, std::string_view name);
bool asks(const CommandLine& line, const FrontendOption& option);
bool has_lines(const FrontendOption& option);

}  // namespace

void declare_frontends(CommandLine& line) {
  if (line.command() == kServesMany) {
    for (const FrontendOption& option : network_frontend().options) declare(line, option);
    return;
  }
  line.add(
      {.name = "frontend",
       .value = "FRONTEND",
       .help = fmt::format("{} (default: ublk, else loop)", fmt::join(frontend_names(), ", "))});
  line.add({.name = "mode",
            .value = "MODE",
            .help = "how data reaches the server (default: the best possible)"});
  for (const FrontendType* const type : frontend_types()) {
    for (const FrontendOption& option : type->options) declare(line, option);
  }
}

Outcome<FrontendOptions> read_frontend(const CommandLine& line, const FrontendType* fallback) {
  FrontendOptions options;
  if (auto read = read_common(line, options); !read) return std::unexpected(read.error());
  if (auto read = read_own(line, options); !read) return std::unexpected(read.error());
  const auto mode = read_mode(line);
  if (!mode) return std::unexpected(mode.error());
  options.mode = mode->name;
  const auto type = read_type(line);
  if (!type) return std::unexpected(type.error());
  options.type = *type != nullptr ? *type : implied_type(line, *mode);
  if (options.type == nullptr) options.type = fallback;
  if (options.type == nullptr) return options;
  if (auto fits = check_type(line, *options.type, *mode); !fits) {
    return std::unexpected(fits.error());
  }
  if (options.type->check_options == nullptr) return options;
  if (auto checked = options.type->check_options(options); !checked) {
    return usage(checked.error().text);
  }
  return options;
}

void make_paths_absolute(FrontendOptions& options, const std::filesystem::path& directory) {
  if (options.type == nullptr) return;
  for (const FrontendOption& option : options.type->options) {
    if (!options.own.has(option.name)) continue;
    const std::string text = options.own.text(option.name);
    if (option.kind == FrontendOption::Kind::path) {
      options.own.set(option.name, (directory / text).native());
    } else if (has_lines(option)) {
      options.own.set(option.name, absolute_addresses(text, directory));
    }
  }
}

std::vector<std::string_view> mode_names() {
  std::vector<std::string_view> names;
  for (const FrontendType* const type : frontend_types()) {
    for (const std::string_view name : type->modes()) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

namespace {

void declare(CommandLine& line, const FrontendOption& option) {
  if (line.find(option.name) != nullptr) return;  // declared for another front end already
  OptionInfo info;
  info.letter = option.letter;
  info.name = option.name;
  info.value = option.value;
  info.help = option.help;
  info.repeated = has_lines(option);
  line.add(std::move(info));
}

Outcome<void> read_common(const CommandLine& line, FrontendOptions& options) {
  const auto id = read_id(line);
  if (!id) return std::unexpected(id.error());
  options.id = id->value_or(kAnyId);
  const auto queues = read_number(line, "queues", options.queues, {1, kQueuesMax});
  if (!queues) return std::unexpected(queues.error());
  options.queues = static_cast<uint16_t>(*queues);
  const auto depth = read_number(line, "depth", options.depth, {1, kQueueDepthMax});
  if (!depth) return std::unexpected(depth.error());
  options.depth = static_cast<uint16_t>(*depth);
  const auto bytes =
      read_size(line, "max_io_buf_bytes", options.max_io_bytes, {kMinIoBytes, kIoBytesMax});
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes % kMinIoBytes != 0) {
    return usage(fmt::format("--max_io_buf_bytes takes a multiple of 4096, found {}: give {}",
                             *bytes, (*bytes / kMinIoBytes + 1) * kMinIoBytes));
  }
  options.max_io_bytes = static_cast<uint32_t>(*bytes);
  const auto reserve = read_size(line, "reserve", 0, {0, kMaxReserveBytes});
  if (!reserve) return std::unexpected(reserve.error());
  if (line.has("reserve")) options.reserve_bytes = static_cast<uint32_t>(*reserve);
  return {};
}

Outcome<void> read_own(const CommandLine& line, FrontendOptions& options) {
  for (const FrontendType* const type : frontend_types()) {
    for (const FrontendOption& option : type->options) {
      if (!line.has(option.name)) continue;
      switch (option.kind) {
        case FrontendOption::Kind::flag:
          options.own.set(option.name, true);
          break;
        case FrontendOption::Kind::on_off: {
          const auto on = read_switch(line, option.name);
          if (!on) return std::unexpected(on.error());
          options.own.set(option.name, *on);
          break;
        }
        case FrontendOption::Kind::path:
        case FrontendOption::Kind::text:
          options.own.set(option.name, line.text(option.name));
          break;
        case FrontendOption::Kind::addresses:
        case FrontendOption::Kind::listeners:
          options.own.set(option.name,
                          fmt::format("{}", fmt::join(line.values(option.name), "\n")));
          break;
      }
    }
  }
  return {};
}

// Some front ends have options that are other ways to name a mode.
Outcome<NamedMode> read_mode(const CommandLine& line) {
  std::vector<NamedMode> named;
  for (const FrontendType* const type : frontend_types()) {
    for (const FrontendOption& option : type->options) {
      if (option.mode.empty() || !asks(line, option)) continue;
      const char* const on = option.kind == FrontendOption::Kind::on_off ? " 1" : "";
      named.push_back({line.find(option.name)->shown() + on, std::string(option.mode)});
    }
  }
  if (line.has("mode")) {
    auto mode = read_mode_name(line.text("mode"));
    if (!mode) return mode;
    named.push_back(std::move(*mode));
  }
  if (named.empty()) return NamedMode{};
  for (const NamedMode& each : named) {
    if (each.name == named.front().name) continue;
    return usage(fmt::format("{} and {} name different modes: drop one of them",
                             named.front().option, each.option));
  }
  return named.front();
}

Outcome<NamedMode> read_mode_name(const std::string& text) {
  const std::string name = canonical_name(text);
  const std::vector<std::string_view> names = mode_names();
  if (std::ranges::find(names, name) != names.end()) return NamedMode{"--mode " + name, name};
  const std::string nearest = did_you_mean(name, names);
  return usage(
      fmt::format("unknown mode {}: {}", shown(text),
                  nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", ")) : nearest));
}

// The front end of `sluice serve`.
const FrontendType& network_frontend() {
  return **std::ranges::find_if(frontend_types(), &FrontendType::serves_many);
}

// Null: the user has not chosen.
Outcome<const FrontendType*> read_type(const CommandLine& line) {
  if (line.command() == kServesMany) return &network_frontend();
  if (!line.has("frontend")) return nullptr;
  const std::string name = canonical_name(line.text("frontend"));
  if (const FrontendType* const type = find_frontend(name)) return type;
  const std::vector<std::string_view> names = frontend_names();
  const std::string nearest = did_you_mean(name, names);
  return usage(
      fmt::format("unknown front end {}: {}", shown(line.text("frontend")),
                  nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", ")) : nearest));
}

// An option or a mode that not every front end has asks for a front end that has it. If options
// contradict each other, the last front end counts, which is used only if the user asks for it. A
// mode of all front ends that are used unasked selects none of them.
const FrontendType* implied_type(const CommandLine& line, const NamedMode& mode) {
  for (const FrontendType* const type : std::views::reverse(frontend_types())) {
    for (const FrontendOption& option : type->options) {
      if (option.mode.empty() && asks(line, option)) return type;
    }
  }
  if (mode.name.empty()) return nullptr;
  const bool says_nothing = std::ranges::all_of(frontend_types(), [&](const FrontendType* type) {
    return type->check_usable == nullptr || has_mode(*type, mode.name);
  });
  if (says_nothing) return nullptr;
  const auto types = frontend_types();
  return *std::ranges::find_if(types, [&](auto* type) { return has_mode(*type, mode.name); });
}

Outcome<void> check_type(const CommandLine& line, const FrontendType& type, const NamedMode& mode) {
  if (!mode.name.empty() && !has_mode(type, mode.name)) {
    return usage(fmt::format("{} names a mode that front end '{}' does not have: it has {}",
                             mode.option, type.name, fmt::join(type.modes(), ", ")));
  }
  for (const FrontendType* const other : frontend_types()) {
    for (const FrontendOption& option : other->options) {
      if (!option.mode.empty() || !asks(line, option) || has_option(type, option.name)) continue;
      return usage(fmt::format("{} is for front end '{}', not for '{}': drop one of them",
                               line.find(option.name)->shown(), other->name, type.name));
    }
  }
  for (const FrontendOption& option : type.options) {
    if (option.required.empty() || line.has(option.name)) continue;
    if (option.kind == FrontendOption::Kind::listeners) continue;  // see read_listeners()
    return usage(fmt::format("front end '{}' needs {} {}: {}", type.name,
                             line.find(option.name)->shown(), option.value, option.required));
  }
  return {};
}

// The paths in unix:PATH; a name that begins with @ is none.
std::string absolute_addresses(std::string_view lines, const std::filesystem::path& directory) {
  constexpr std::string_view kUnix = "unix:";
  std::string absolute;
  for (const auto part : std::views::split(lines, '\n')) {
    const std::string_view line(part);
    if (!absolute.empty()) absolute += '\n';
    const std::string_view path = line.substr(std::min(kUnix.size(), line.size()));
    const bool is_path = line.starts_with(kUnix) && !path.empty() && !path.starts_with('@');
    absolute += is_path ? fmt::format("{}{}", kUnix, (directory / path).native()) : line;
  }
  return absolute;
}

bool has_mode(const FrontendType& type, std::string_view mode) {
  const auto modes = type.modes();
  return std::ranges::find(modes, mode) != modes.end();
}

bool has_option(const FrontendType& type, std::string_view name) {
  return std::ranges::find(type.options, name, &FrontendOption::name) != type.options.end();
}

bool has_lines(const FrontendOption& option) {
  return option.kind == FrontendOption::Kind::addresses ||
         option.kind == FrontendOption::Kind::listeners;
}

bool asks(const CommandLine& line, const FrontendOption& option) {
  return line.has(option.name) && !(option.off_asks_nothing && line.text(option.name) != "1");
}

}  // namespace
}  // namespace sluice::cli
