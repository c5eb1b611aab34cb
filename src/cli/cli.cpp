#include "cli/cli.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/complete.hpp"
#include "cli/file_output.hpp"
#include "daemon/name_link.hpp"
#include "daemon/state_location.hpp"
#include "sluice_version.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr const Command* kCommands[] = {
    &kAddCommand,     &kServeCommand,   &kDelCommand,         &kListCommand,     &kStatCommand,
    &kInspectCommand, &kEventsCommand,  &kCtlCommand,         &kResizeCommand,   &kRecoverCommand,
    &kQuiesceCommand, &kUpgradeCommand, &kSetAffinityCommand, &kFeaturesCommand, &kTargetsCommand,
    &kInfoCommand,    &kCheckCommand,   &kCreateCommand,      &kConvertCommand,  &kMapCommand,
    &kCompareCommand, &kMeasureCommand, &kAmendCommand,       &kSnapshotCommand, &kBitmapCommand,
    &kCommitCommand,  &kRebaseCommand,  &kMirrorCommand,      &kCryptCommand,    &kThinCommand,
    &kBenchCommand,   &kHelpCommand,
};

// `sluice udev loop0`, for udev/60-sluice.rules.in. Not for users, so not in the help.
constexpr std::string_view kUdevWord = "udev";

Outcome<void> run_command(const std::vector<std::string>& arguments, const Streams& streams,
                          Grammar grammar);
Outcome<void> flush(const Streams& streams);
std::string overview();
Failure unknown_command(std::string_view word);
Outcome<void> help(const CommandLine& line, const Streams& streams);

}  // namespace

int run(const std::vector<std::string>& arguments, const Streams& streams, Grammar grammar) {
  Outcome<void> done;
  try {
    done = run_command(arguments, streams, grammar);
    auto flushed = flush(streams);  // prints partial output, too
    if (done) done = std::move(flushed);
  } catch (const std::bad_alloc&) {
    done = failed("out of memory");
  }
  if (done) return static_cast<int>(Exit::success);
  if (!done.error().text.empty()) say(streams, done.error().text);
  return static_cast<int>(done.error().exit);
}

Grammar grammar_of(std::string_view program) {
  const std::string_view name = program.substr(program.rfind('/') + 1);  // npos + 1 is 0
  return name == "ublk" ? Grammar::ublk : Grammar::sluice;
}

void say(const Streams& streams, std::string_view sentence) {
  streams.error << fmt::format("sluice: {}\n", printable(sentence, std::string::npos));
  streams.error.flush();
}

std::span<const Command* const> commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  for (const Command* const command : kCommands) {
    if (command->name == canonical_name(name)) return command;
  }
  return nullptr;
}

std::string command_help(const Command& command, std::span<const std::string> arguments) {
  CommandLine line{std::string(command.name)};
  command.declare(line, arguments);
  std::string text;
  std::string_view synopsis = command.synopsis;
  while (true) {
    const std::string_view form = synopsis.substr(0, synopsis.find('\n'));
    text += fmt::format("{} sluice {}{}{}\n", text.empty() ? "usage:" : "      ", command.name,
                        form.empty() ? "" : " ", form);
    if (form.size() == synopsis.size()) break;
    synopsis.remove_prefix(form.size() + 1);
  }
  text += fmt::format("\n{}\n\n{}", command.summary, line.options_help(false));
  const std::string of_target = line.options_help(true);
  if (!of_target.empty()) text += fmt::format("\nOptions of this target:\n\n{}", of_target);
  if (&command != &kHelpCommand) text += fmt::format("\nMore: man sluice-{}\n", command.name);
  return text;
}

namespace {

Outcome<void> run_command(const std::vector<std::string>& arguments, const Streams& streams,
                          Grammar grammar) {
  if (arguments.empty()) {
    return usage("no command given: 'sluice help' lists them");
  }
  const std::string& word = arguments.front();
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  const bool is_version = word == "--version" || word == "-v";
  if (is_version || word == "--help" || word == "-h") {
    if (!rest.empty()) return usage(fmt::format("unexpected argument {}", shown(rest.front())));
    streams.out << (is_version ? fmt::format("sluice {}\n", kVersion) : overview());
    return {};
  }
  if (word == kCompleteWord) {
    for (const std::string& candidate : complete(rest)) streams.out << candidate << '\n';
    return {};
  }
  if (word == kUdevWord) {
    for (const std::string& kernel_name : rest) streams.out << udev_properties(kernel_name);
    return {};
  }
  const Command* const command = find_command(word);
  if (command == nullptr) return std::unexpected(unknown_command(word));
  CommandLine line(std::string(command->name), grammar);
  command->declare(line, rest);
  if (auto parsed = line.parse(rest); !parsed) {
    if (parsed.error().exit == Exit::usage) parsed.error().exit = command->usage_exit;
    return parsed;
  }
  if (line.has("help")) {
    streams.out << command_help(*command, rest);
    return {};
  }
  if (command->has_state) {
    if (auto checked = check_state_directory(); !checked) return failed(checked.error());
  }
  return command->run(line, streams);
}

// EPIPE, a reader that closed early, is not reported.
Outcome<void> flush(const Streams& streams) {
  streams.out.flush();
  if (streams.out) return {};
  const auto* const file = dynamic_cast<const FileOutput*>(streams.out.rdbuf());
  const int cause = file != nullptr ? file->error() : EIO;
  if (cause == EPIPE) return failed(std::string());
  return failed(fmt::format("cannot write to the standard output: {}", std::strerror(cause)));
}

std::string overview() {
  std::string text =
      "usage: sluice COMMAND [OPTION]...\n\n"
      "Block devices that lend their pages to the I/O behind them.\n\n";
  for (const Command* const command : kCommands) {
    text += fmt::format("  {:<14}{}\n", command->name, command->summary);
  }
  return text + "\nSee 'sluice help COMMAND' and man sluice for more.\n";
}

Failure unknown_command(std::string_view word) {
  const std::string_view kind = word.starts_with('-') ? "option" : "command";
  std::vector<std::string_view> names;
  for (const Command* const command : kCommands) names.push_back(command->name);
  const std::string nearest = did_you_mean(word, names);
  return {Exit::usage, fmt::format("unknown {} {}: {}", kind, shown(word),
                                   nearest.empty() ? "'sluice help' lists all" : nearest)};
}

void declare_help(CommandLine& line, std::span<const std::string>) {
  line.add_word("COMMAND");
  line.add({.letter = 't', .name = "type", .value = "TYPE", .help = "describe this target"});
}

Outcome<void> help(const CommandLine& line, const Streams& streams) {
  const std::string type = line.text("type");
  if (line.has("type")) {
    if (line.word() && line.word() != "add") {
      return usage(fmt::format("-t does not go with 'sluice help {}'", *line.word()));
    }
    const std::vector<std::string> arguments = {"-t", type};
    if (const auto target = find_target_named(type); !target) {
      return std::unexpected(target.error());
    }
    streams.out << command_help(kAddCommand, arguments);
    return {};
  }
  if (!line.word()) {
    streams.out << overview();
    return {};
  }
  const Command* const command = find_command(*line.word());
  if (command == nullptr) return std::unexpected(unknown_command(*line.word()));
  streams.out << command_help(*command, {});
  return {};
}

}  // namespace

constinit const Command kHelpCommand = {
    .name = "help",
    .synopsis = "[COMMAND]\n-t TYPE",
    .summary = "Describe a command, or the options of a target.",
    .declare = declare_help,
    .run = help,
    .has_state = false};

}  // namespace sluice::cli
