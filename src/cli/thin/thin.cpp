// `sluice thin`.
#include "cli/thin/thin.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "cli/command.hpp"
#include "cli/image/image_source.hpp"
#include "image/foreign_content.hpp"
#include "image/metadata_writer.hpp"
#include "persistent/devices.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kThinActions =
    "info|dump|check|create-pool|create|snapshot|delete|restore";

struct ThinAction {
  std::string_view name;
  std::array<std::string_view, 3> words;  // behind it
  Outcome<void> (*run)(const CommandLine& line, const Streams& streams);
};
constexpr ThinAction kThinTable[] = {
    {"info", {"SPEC"}, show_thin},
    {"dump", {"SPEC"}, dump_thin},
    {"check", {"SPEC"}, check_thin},
    {"create-pool", {"SPEC", "DATA"}, create_pool},
    {"create", {"SPEC", "ID"}, create_thin_device},
    {"snapshot", {"SPEC", "ID", "ORIGIN"}, snapshot_thin_device},
    {"delete", {"SPEC", "ID"}, delete_thin_device},
    {"restore", {"SPEC"}, restore_pool},
};

// The action that the arguments have; null: none yet.
const ThinAction* thin_action_of(std::span<const std::string> arguments) {
  for (const std::string& argument : arguments) {
    const auto found = std::ranges::find(kThinTable, argument, &ThinAction::name);
    if (found != std::end(kThinTable)) return found;
  }
  return nullptr;
}

// The options of the action, or all.
void declare_thin(CommandLine& line, std::span<const std::string> arguments) {
  const ThinAction* const action = thin_action_of(arguments);
  line.add_word(std::string(kThinActions));
  line.add_word("SPEC");
  for (const std::string_view word : action == nullptr ? kThinTable[5].words : action->words) {
    if (!word.empty() && word != "SPEC") line.add_word(std::string(word));
  }
  const auto is = [&](auto... names) {
    return action == nullptr || ((action->name == names) || ...);
  };
  if (is("info", "dump")) {
    line.add({.letter = 'm',
              .name = "metadata_snapshot",
              .help = "info, dump: of the metadata snapshot, while the pool is in use"});
  }
  if (is("info", "dump", "check")) {
    line.add({'U', std::string(kForceShare), "",
              "info, dump, check: read also what another program is writing"});
  }
  if (is("create-pool")) {
    line.add({'b', "block", "SIZE", "create-pool: of the data, 64k to 1G in steps of 64k (64k)"});
  }
  if (is("restore")) {
    line.add({'i', "input", "FILE", "restore: the XML; the standard input by default"});
  }
  if (is("create-pool", "create", "snapshot", "delete", "restore")) {
    line.add(
        {.name = "force", .help = "to change: overwrite what is there, or change a pool of LVM"});
  }
  if (is("check")) line.add({'p', "progress", "", "check: show how far it is"});
  if (is("info", "check")) {
    line.add({.name = "json", .help = "info, check: print all values as an object"});
  }
}

Outcome<void> run_thin(const CommandLine& line, const Streams& streams) {
  constexpr std::string_view kChoice =
      "info, dump, check, create-pool, create, snapshot, delete or restore";
  const std::string word = line.word().value_or("");
  const auto action = std::ranges::find(kThinTable, word, &ThinAction::name);
  if (action == std::end(kThinTable)) {
    if (word.empty()) return failed(fmt::format("'sluice thin' needs one of {}", kChoice));
    return failed(fmt::format("'sluice thin' has no action {}: give {}", shown(word), kChoice));
  }
  const auto words = static_cast<size_t>(
      std::ranges::count_if(action->words, [](std::string_view each) { return !each.empty(); }));
  const size_t given = line.words().size() - 1;
  if (given < words) {
    return failed(fmt::format("'sluice thin {}' needs a {}", word, action->words[given]));
  }
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  return action->run(line, streams);
}

}  // namespace

Outcome<std::unique_ptr<image::OpenDisk>> open_thin_disk(const CommandLine& line,
                                                         const std::string& word,
                                                         ThinAccess access) {
  const auto spec = destination_spec(word, {});
  if (!spec) return std::unexpected(spec.error());
  const bool writable = access == ThinAccess::write;
  auto disk = image::OpenDisk::open(
      *spec, {.name = word,
              .writable = writable,
              .unlocked = !writable && line.find(kForceShare) != nullptr && line.has(kForceShare)});
  if (!disk) return failed(disk.error());
  if (!writable) return std::move(*disk);
  if (auto checked = image::MetadataWriter::check_blocks(**disk); !checked) {
    return failed(checked.error());
  }
  return std::move(*disk);
}

Outcome<OpenMetadata> open_metadata(const CommandLine& line) {
  auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::read);
  if (!disk) return std::unexpected(disk.error());
  auto reader = std::make_unique<image::MetadataReader>(**disk);
  auto superblock = persistent::load_superblock(*reader);
  if (superblock && line.has("metadata_snapshot")) {
    superblock = persistent::load_snapshot(*reader, *superblock);
  }
  if (!superblock) return std::unexpected(blame_metadata(**disk, superblock.error()));
  return OpenMetadata{std::move(*disk), std::move(reader), *superblock};
}

Outcome<void> check_is_unused(const CommandLine& line, image::OpenDisk& disk) {
  if (line.has("force")) return {};
  image::MetadataReader reader(disk);
  const auto superblock = persistent::load_superblock(reader);
  const int error = superblock ? 0 : superblock.error().error;
  auto content = image::find_foreign_content(disk);
  if (!content) return failed(content.error());
  // Damaged, or newer ones as well.
  if (error == 0 || error == EILSEQ || error == EOPNOTSUPP) {
    content = "the metadata of a thin pool";
  }
  if (content->empty()) return {};
  return failed(
      fmt::format("{} has {}: give --force to overwrite it", shown(disk.name()), *content));
}

Failure blame_metadata(const image::OpenDisk& disk, const Error& error) {
  const std::string name = shown(disk.name());
  if (error.text.contains(name)) return {Exit::failure, error.text};
  return {Exit::failure, fmt::format("{}: {}", name, error.text)};
}

constinit const Command kThinCommand = {
    .name = "thin",
    .synopsis =
        "info [-m] [-U] [--json] SPEC\n"
        "dump [-m] [-U] SPEC\n"
        "check [-U] [-p] [--json] SPEC\n"
        "create-pool [-b SIZE] [--force] SPEC DATA\n"
        "create [--force] SPEC ID\n"
        "snapshot [--force] SPEC ID ORIGIN\n"
        "delete [--force] SPEC ID\n"
        "restore [-i FILE] [--force] SPEC",
    .summary = "Show, check or change the metadata of a thin pool, also one of LVM.",
    .declare = declare_thin,
    .run = run_thin,
    .has_state = false,
    .usage_exit = Exit::failure};

}  // namespace sluice::cli
