// `sluice mirror`.
#include "cli/mirror/mirror.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>

#include "cli/command.hpp"
#include "cli/image/image_source.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kActions = "create|examine|forget|promote|discard";

struct MirrorAction {
  std::string_view name;
  Outcome<void> (*run)(const CommandLine& line, const Streams& streams);
};
constexpr MirrorAction kMirrorActions[] = {
    {"create", create_mirror},   {"examine", examine_mirror}, {"forget", forget_mirror},
    {"promote", promote_mirror}, {"discard", discard_mirror},
};

// Which action the arguments have; empty: none yet.
std::string_view action_of(std::span<const std::string> arguments) {
  for (const MirrorAction& action : kMirrorActions) {
    if (std::ranges::count(arguments, action.name) != 0) return action.name;
  }
  return {};
}

// The options of the action, or all.
void declare_mirror(CommandLine& line, std::span<const std::string> arguments) {
  line.add_word(std::string(kActions));
  line.add_word("LEG...");
  const std::string_view action = action_of(arguments);
  const auto is = [&](std::string_view name) { return action.empty() || action == name; };
  if (is("create")) {
    line.add({.name = "from",
              .value = "LEG",
              .help = "create: the leg, by number or SPEC, that is copied to the others (1)"});
    line.add({.name = "spares",
              .value = "N",
              .help = "create: the last N legs hold no data, and come in for others (0)"});
    line.add({.name = "assume_clean", .help = "create: all legs are equal, none is copied"});
    line.add({.name = "name", .value = "NAME", .help = "create: of the array"});
    line.add({.name = "metadata",
              .value = "start|end",
              .help = "create: before the data (start), or behind that of existing disks"});
    line.add({.name = "data_offset",
              .value = "SIZE",
              .help = "create: where the data begins on each leg; as early as may be"});
    line.add({.name = "region",
              .value = "SIZE",
              .help = "create: of the data for each bit of the write-intent bitmap"});
  }
  if (is("discard")) {
    line.add({.name = "keep",
              .value = "LEG",
              .help = "discard: the leg whose data stays, and is copied to the others"});
  }
  if (is("create") || is("forget") || is("discard")) {
    line.add({.name = "force",
              .help = "create: over content; forget: damaged ones; discard: newer data, too"});
  }
  if (is("examine") || is("promote") || is("discard")) {
    line.add({.name = "json", .help = "print everything as an object"});
  }
}

bool has_file(const Spec& spec, const std::string& path) {
  if (spec.text("file") == path) return true;
  return std::ranges::any_of(spec.children, [&](const Spec& each) { return has_file(each, path); });
}

// The device that serves a file of the leg, as the end of a sentence. By their paths: a file is
// not looked at, as it may be on a file system that hangs.
std::string holder_of(const Spec& leg) {
  const std::string path = leg.text("file");
  for (const DeviceRecord& record : read_records()) {
    if (path.empty() || !has_file(record.spec, path) || !server_alive(record)) continue;
    return fmt::format("; device {} serves it: 'sluice del -n {}' ends that", record.id, record.id);
  }
  for (const Spec& each : leg.children) {
    if (std::string holder = holder_of(each); !holder.empty()) return holder;
  }
  return {};
}

Outcome<void> run_mirror(const CommandLine& line, const Streams& streams) {
  const std::string word = line.word().value_or("");
  const auto action = std::ranges::find(kMirrorActions, word, &MirrorAction::name);
  if (action == std::end(kMirrorActions)) {
    if (word.empty()) {
      return usage("'sluice mirror' needs one of create, examine, forget, promote and discard");
    }
    return usage(
        fmt::format("'sluice mirror' has no action {}: give create, examine, forget, "
                    "promote or discard",
                    shown(word)));
  }
  if (leg_words(line).empty()) return usage(fmt::format("'sluice mirror {}' needs a LEG", word));
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  return action->run(line, streams);
}

}  // namespace

std::span<const std::string> leg_words(const CommandLine& line) { return line.words().subspan(1); }

Outcome<std::unique_ptr<image::OpenDisk>> open_leg(const std::string& word, LegAccess access) {
  auto spec = destination_spec(word, {});
  if (!spec) return std::unexpected(spec.error());
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (auto made = make_paths_absolute(*spec, target_vocabulary(), here.native()); !made) {
    return failed(made.error());
  }
  const bool writable = access == LegAccess::write;
  auto disk =
      image::OpenDisk::open(*spec, {.name = word, .writable = writable, .unlocked = !writable});
  if (disk) return std::move(*disk);
  std::string text = std::move(disk.error().text);
  if (disk.error().error == EBUSY) text += holder_of(*spec);
  return failed(text);
}

constinit const Command kMirrorCommand = {
    .name = "mirror",
    .synopsis =
        "create [OPTION]... LEG LEG...\n"
        "examine [--json] LEG...\n"
        "forget [--force] LEG...\n"
        "promote [--json] LEG...\n"
        "discard [--force] [--json] --keep LEG LEG...",
    .summary = "Make the legs of a mirror, show what is on them, erase it, or decide which serves.",
    .declare = declare_mirror,
    .run = run_mirror,
    .has_state = false};

}  // namespace sluice::cli
