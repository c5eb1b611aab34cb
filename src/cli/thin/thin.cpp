// `sluice thin`.
#include "cli/thin/thin.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cli/command.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

struct ThinAction {
  std::string_view name;
  std::string_view summary;
  std::array<std::string_view, 3> words;  // behind it
  std::array<std::string_view, 7> options;
  Outcome<void> (*run)(const CommandLine& line, const Streams& streams);
};
constexpr ThinAction kThinTable[] = {
    {"info",
     "show a pool and its devices",
     {"SPEC"},
     {"metadata_snapshot", "force_share", "json"},
     show_thin},
    {"list",
     "list the devices of a pool",
     {"SPEC"},
     {"metadata_snapshot", "force_share", "json"},
     list_thin},
    {"dump",
     "print all mappings as XML",
     {"SPEC"},
     {"metadata_snapshot", "force_share"},
     dump_thin},
    {"delta",
     "print what differs between two devices",
     {"SPEC"},
     {"from", "to", "metadata_snapshot", "force_share", "json", "xml"},
     show_delta},
    {"check",
     "check the metadata as a whole",
     {"SPEC"},
     {"clear-needs-check", "force_share", "progress", "json"},
     check_thin},
    {"repair",
     "make a new pool of what can be read of a damaged one",
     {"SPEC"},
     {"output", "block", "data-blocks", "transaction-id", "progress", "json", "force"},
     repair_pool},
    {"create-pool", "make a pool", {"SPEC", "DATA"}, {"block", "force"}, create_pool},
    {"create", "make a thin device", {"SPEC", "ID"}, {"force"}, create_thin_device},
    {"snapshot",
     "take a snapshot of a thin device",
     {"SPEC", "ID", "ORIGIN"},
     {"force"},
     snapshot_thin_device},
    {"rollback",
     "make a thin device a new snapshot of another",
     {"SPEC", "ID", "SNAPSHOT"},
     {"force"},
     roll_back_thin_device},
    {"merge",
     "merge a snapshot into its origin",
     {"SPEC"},
     {"origin", "snapshot", "rebase", "force"},
     merge_thin_devices},
    {"delete", "delete a thin device", {"SPEC", "ID"}, {"force"}, delete_thin_device},
    {"grow",
     "make the data or the metadata of a pool larger",
     {"SPEC"},
     {"data-size", "metadata-size", "force"},
     grow_pool},
    {"trim", "discard all data that nothing has mapped", {"SPEC", "DATA"}, {"progress"}, trim_pool},
    {"restore", "make a pool of XML", {"SPEC"}, {"input", "force"}, restore_pool},
    {"from-lvm", "print the SPECs of a pool of LVM", {"VG/POOL"}, {"json"}, show_lvm_pool},
};

struct ThinOption {
  char letter;
  std::string_view name;
  std::string_view value;
  std::string_view help;
};
constexpr ThinOption kThinOptions[] = {
    {'m', "metadata_snapshot", "", "of the metadata snapshot of a pool in use"},
    {'U', "force_share", "", "read also what another program is writing"},
    {'b', "block", "SIZE", "of the data, 64k to 1G in steps of 64k (64k)"},
    {0, "from", "ID", "the first of two devices"},
    {0, "to", "ID", "the second"},
    {0, "origin", "ID", "the device below"},
    {0, "snapshot", "ID", "the device whose blocks are above those of the origin"},
    {0, "rebase", "", "into the snapshot; the origin stays"},
    {0, "data-size", "SIZE", "of the data device from now on"},
    {0, "metadata-size", "SIZE", "of the metadata from now on, at most what SPEC has"},
    {0, "clear-needs-check", "", "if there are no errors, the pool may be changed again"},
    {'o', "output", "SPEC", "the metadata of the new pool"},
    {0, "data-blocks", "NUMBER", "of the pool, if its superblock is lost"},
    {0, "transaction-id", "NUMBER", "of the pool, if its superblock is lost"},
    {'i', "input", "FILE", "the XML; the standard input by default"},
    {0, "force", "", "overwrite what is there, or change a pool of LVM"},
    {'p', "progress", "", "show how far it is"},
    {0, "json", "", "print all values as JSON"},
    {0, "xml", "", "print the text of thin_delta"},
};

bool takes(const ThinAction& action, std::string_view option) {
  return std::ranges::find(action.options, option) != action.options.end();
}

// The action that the arguments have; null: none yet.
const ThinAction* thin_action_of(std::span<const std::string> arguments) {
  for (const std::string& argument : arguments) {
    const auto found = std::ranges::find(kThinTable, argument, &ThinAction::name);
    if (found != std::end(kThinTable)) return found;
  }
  return nullptr;
}

// "info, list: "; nothing if many actions have the option.
std::string actions_with(std::string_view option) {
  constexpr size_t kNamedMost = 4;
  std::string names;
  size_t count = 0;
  for (const ThinAction& action : kThinTable) {
    if (!takes(action, option)) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", action.name);
    ++count;
  }
  return count > kNamedMost ? "" : names + ": ";
}

// The options of the action, or all.
void declare_thin(CommandLine& line, std::span<const std::string> arguments) {
  const ThinAction* const action = thin_action_of(arguments);
  line.add_word(std::string(kThinActionWord));
  constexpr std::array<std::string_view, 3> kAnyWords = {"SPEC", "ID", "ORIGIN"};
  for (const std::string_view word : action == nullptr ? kAnyWords : action->words) {
    if (!word.empty()) line.add_word(std::string(word));
  }
  for (const ThinOption& option : kThinOptions) {
    if (action != nullptr && !takes(*action, option.name)) continue;
    line.add({.letter = option.letter,
              .name = std::string(option.name),
              .value = std::string(option.value),
              .help = action != nullptr
                          ? std::string(option.help)
                          : fmt::format("{}{}", actions_with(option.name), option.help)});
  }
}

std::string thin_choice() {
  std::string names;
  for (const ThinAction& action : kThinTable) {
    const bool is_last = &action == std::end(kThinTable) - 1;
    names += fmt::format("{}{}", names.empty() ? "" : is_last ? " or " : ", ", action.name);
  }
  return names;
}

Outcome<void> run_thin(const CommandLine& line, const Streams& streams) {
  const std::string word = line.word().value_or("");
  const auto action = std::ranges::find(kThinTable, word, &ThinAction::name);
  if (action == std::end(kThinTable)) {
    if (word.empty()) return failed(fmt::format("'sluice thin' needs one of {}", thin_choice()));
    return failed(
        fmt::format("'sluice thin' has no action {}: give {}", shown(word), thin_choice()));
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

std::vector<std::string> thin_action_words() {
  std::vector<std::string> words;
  for (const ThinAction& action : kThinTable) {
    words.push_back(fmt::format("{}\t{}", action.name, action.summary));
  }
  return words;
}

constinit const Command kThinCommand = {
    .name = "thin",
    .synopsis =
        "info [-m] [-U] [--json] SPEC\n"
        "list [-m] [-U] [--json] SPEC\n"
        "dump [-m] [-U] SPEC\n"
        "delta --from ID --to ID [-m] [-U] [--json|--xml] SPEC\n"
        "check [--clear-needs-check] [-U] [-p] [--json] SPEC\n"
        "repair -o SPEC [-b SIZE] [-p] [--json] [--force] [OPTION]... SPEC\n"
        "create-pool [-b SIZE] [--force] SPEC DATA\n"
        "create [--force] SPEC ID\n"
        "snapshot [--force] SPEC ID ORIGIN\n"
        "rollback [--force] SPEC ID SNAPSHOT\n"
        "merge --origin ID --snapshot ID [--rebase] [--force] SPEC\n"
        "delete [--force] SPEC ID\n"
        "grow [--data-size SIZE] [--metadata-size SIZE] [--force] SPEC\n"
        "trim [-p] SPEC DATA\n"
        "restore [-i FILE] [--force] SPEC\n"
        "from-lvm [--json] VG/POOL",
    .summary = "Show, check or change the metadata of a thin pool, also one of LVM.",
    .declare = declare_thin,
    .run = run_thin,
    .has_state = false,
    .usage_exit = Exit::failure};

}  // namespace sluice::cli
