// `sluice features` and `sluice targets`.
#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/show.hpp"
#include "daemon/listing.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

void declare_facts(CommandLine& line, std::span<const std::string>) {
  line.add({.name = "json", .help = "print JSON"});
}

Outcome<void> print_features(const CommandLine& line, const Streams& streams) {
  const auto driver = driver_features();
  if (!driver) return failed(driver.error());
  streams.out << (line.has("json") ? written(features_json(*driver)) : features_text(*driver));
  return {};
}

void declare_targets(CommandLine& line, std::span<const std::string> arguments) {
  declare_facts(line, arguments);
  line.add_word("TARGET");
}

Outcome<void> print_targets(const CommandLine& line, const Streams& streams) {
  std::span<const TargetSyntax> targets = target_vocabulary();
  if (line.word()) {
    const auto target = find_target_named(*line.word());
    if (!target) return std::unexpected(target.error());
    targets = {*target, 1};
  }
  streams.out << (line.has("json") ? written(targets_json(targets)) : targets_text(targets));
  return {};
}

}  // namespace

constinit const Command kFeaturesCommand = {
    .name = "features",
    .synopsis = "[--json]",
    .summary = "Show the features of the kernel's ublk driver, and the usable buffer modes.",
    .declare = declare_facts,
    .run = print_features,
    .has_state = false};

constinit const Command kTargetsCommand = {.name = "targets",
                                           .synopsis = "[--json] [TARGET]",
                                           .summary = "Show all targets and their options.",
                                           .declare = declare_targets,
                                           .run = print_targets,
                                           .has_state = false};

}  // namespace sluice::cli
