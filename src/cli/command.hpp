// Command: one word after `sluice`, such as `add`.
//
// Constants, one per command, each defined beside its code (add.cpp, devices.cpp, facts.cpp) and
// listed once, in cli.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/cli.hpp"
#include "cli/command_line.hpp"
#include "cli/failure.hpp"

namespace sluice::cli {

struct Command {
  std::string_view name;
  std::string_view synopsis;  // the text after the name, a line per form
  std::string_view summary;   // one sentence
  // Declares the options, which may depend on `arguments`.
  void (*declare)(CommandLine& line, std::span<const std::string> arguments);
  Outcome<void> (*run)(const CommandLine& line, const Streams& streams);
  bool has_state = true;          // uses the state directory
  Exit usage_exit = Exit::usage;  // for a malformed command line
};

extern const Command kAddCommand;
extern const Command kServeCommand;
extern const Command kDelCommand;
extern const Command kListCommand;
extern const Command kStatCommand;
extern const Command kInspectCommand;
extern const Command kEventsCommand;
extern const Command kCtlCommand;
extern const Command kRecoverCommand;
extern const Command kQuiesceCommand;
extern const Command kUpgradeCommand;
extern const Command kResizeCommand;
extern const Command kSetAffinityCommand;
extern const Command kFeaturesCommand;
extern const Command kTargetsCommand;
extern const Command kInfoCommand;
extern const Command kCheckCommand;
extern const Command kCreateCommand;
extern const Command kConvertCommand;
extern const Command kMapCommand;
extern const Command kCompareCommand;
extern const Command kMeasureCommand;
extern const Command kAmendCommand;
extern const Command kSnapshotCommand;
extern const Command kBitmapCommand;
extern const Command kCommitCommand;
extern const Command kRebaseCommand;
extern const Command kMirrorCommand;
extern const Command kCryptCommand;
extern const Command kThinCommand;
extern const Command kBenchCommand;
extern const Command kHelpCommand;

// In display order.
std::span<const Command* const> commands();
const Command* find_command(std::string_view name);

// A command's usage and options; if `arguments` name a target, also its options.
std::string command_help(const Command& command, std::span<const std::string> arguments);

}  // namespace sluice::cli
