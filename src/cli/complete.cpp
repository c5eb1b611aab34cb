#include "cli/complete.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/thin/thin.hpp"
#include "daemon/device_name.hpp"
#include "frontend/registry.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

using Candidates = std::vector<std::string>;

Candidates all_candidates(std::span<const std::string> before, const std::string& current);
Candidates command_words();
const OptionInfo* option_named(const CommandLine& line, const std::string& word);
Candidates values_of(std::string_view placeholder);
Candidates option_words(const CommandLine& line);
Candidates devices();
std::string next_word(const CommandLine& line, std::span<const std::string> arguments);

}  // namespace

Candidates complete(std::span<const std::string> words) {
  const std::string current = words.empty() ? std::string() : words.back();
  Candidates fitting;
  for (std::string& each :
       all_candidates(words.first(words.empty() ? 0 : words.size() - 1), current)) {
    if (each == kFilesWanted || each.starts_with(current)) fitting.push_back(std::move(each));
  }
  return fitting;
}

namespace {

Candidates all_candidates(std::span<const std::string> before, const std::string& current) {
  if (before.empty()) return command_words();
  const Command* const command = find_command(before.front());
  if (command == nullptr) return {};
  const auto arguments = before.subspan(1);
  CommandLine line{std::string(command->name)};
  command->declare(line, arguments);

  if (!arguments.empty()) {
    const OptionInfo* const previous = option_named(line, arguments.back());
    if (previous != nullptr && !previous->value.empty()) return values_of(previous->value);
  }
  const size_t equals = current.find('=');
  if (current.starts_with("--") && equals != std::string::npos) {
    const std::string name = current.substr(0, equals);
    const OptionInfo* const option = option_named(line, name);
    if (option == nullptr) return {};
    Candidates words = values_of(option->flag_value ? "yes|no" : option->value);
    for (std::string& word : words) {
      if (word != kFilesWanted) word = fmt::format("{}={}", name, word);
    }
    return words;
  }
  if (current.starts_with('-') && current != "-") return option_words(line);
  const std::string word = next_word(line, arguments);
  if (word.empty() || current == "-") return option_words(line);
  return values_of(word);
}

// The help's name of the next argument; empty if there can be none.
std::string next_word(const CommandLine& line, std::span<const std::string> arguments) {
  size_t words = 0;
  bool names_device = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].starts_with('-') || arguments[i] == "-") {
      ++words;
      continue;
    }
    const OptionInfo* const option = option_named(line, arguments[i]);
    names_device |= option != nullptr && option->value == kDeviceWord;
    if (option != nullptr && !option->value.empty()) ++i;  // its value
  }
  const auto names = line.word_names();
  // -n DEVICE replaces the first word.
  const bool begins_so = !names.empty() && names.front().starts_with(kDeviceWord);
  if (names_device && begins_so) ++words;
  if (words >= names.size() && !names.empty() &&
      (names.back() == "FILE..." || names.back() == "LEG...")) {
    return names.back();
  }
  return words < names.size() ? names[words] : std::string();
}

Candidates command_words() {
  Candidates words;
  for (const Command* const command : commands()) {
    words.push_back(fmt::format("{}\t{}", command->name, command->summary));
  }
  words.emplace_back("--help\tlist the commands");
  words.emplace_back("--version\tprint the version");
  return words;
}

const OptionInfo* option_named(const CommandLine& line, const std::string& word) {
  for (const OptionInfo& option : line.options()) {
    const bool is_letter = option.letter != 0 && word == fmt::format("-{}", option.letter);
    const bool is_name =
        word.starts_with("--") &&
        canonical_name(std::string_view(word).substr(2)) == canonical_name(option.name);
    if (is_letter || is_name) return &option;
  }
  return nullptr;
}

// By the value's placeholder in the help.
Candidates values_of(std::string_view placeholder) {
  if (placeholder == kDeviceWord) return devices();
  if (placeholder == kDeviceOrFileWord) {
    Candidates words = devices();
    words.emplace_back(kFilesWanted);
    return words;
  }
  if (placeholder == "0|1") return {"0", "1"};
  if (placeholder == "yes|no") return {"yes", "no"};
  if (placeholder == "FILE" || placeholder == "FILE..." || placeholder == "SPEC" ||
      placeholder == "LEG..." || placeholder == "DATA" || placeholder == "LEG" ||
      placeholder == "SOURCE" || placeholder == "DESTINATION")
    return {std::string(kFilesWanted)};
  Candidates words;
  if (placeholder == "TYPE" || placeholder == "TARGET") {
    for (const TargetSyntax& target : target_vocabulary()) {
      words.push_back(fmt::format("{}\t{}", target.name, target.summary));
    }
  } else if (placeholder == "MODE") {
    for (const std::string_view name : mode_names()) words.emplace_back(name);
  } else if (placeholder == "FRONTEND") {
    for (const std::string_view name : frontend_names()) words.emplace_back(name);
  } else if (placeholder == "leaks|all") {
    words.emplace_back("leaks\tclusters that nobody uses");
    words.emplace_back("all\tand wrong refcounts");
  } else if (placeholder == "raw|qcow2") {
    words = {"raw", "qcow2"};
  } else if (placeholder == "human|json") {
    words = {"human", "json"};
  } else if (placeholder == "create|examine|forget|promote|discard") {
    words.emplace_back("create\tmake the legs of a mirror");
    words.emplace_back("examine\tshow what is on legs");
    words.emplace_back("forget\terase it");
    words.emplace_back("promote\tgo on without the other legs");
    words.emplace_back("discard\tgive up what is on a leg");
  } else if (placeholder == "info") {
    words.emplace_back("info\tshow what the header of a volume says");
  } else if (placeholder == kThinActionWord) {
    words = thin_action_words();
  } else if (placeholder == "start|end") {
    words = {"start", "end"};
  } else if (placeholder == "none|writeback") {
    words = {"none", "writeback"};
  } else if (placeholder == "off|metadata|falloc|full") {
    words = {"off", "metadata", "falloc", "full"};
  } else if (placeholder == "lend|stack") {
    words.emplace_back("lend\ta page to an operation");
    words.emplace_back("stack\ta load on a stack in this process");
  } else if (placeholder == "PATTERN") {
    words = {"read", "write", "rw", "randread", "randwrite", "randrw"};
  } else if (placeholder == "COMMAND") {
    for (const Command* const command : commands()) {
      words.push_back(fmt::format("{}\t{}", command->name, command->summary));
    }
  }
  return words;
}

Candidates option_words(const CommandLine& line) {
  Candidates words;
  for (const OptionInfo& option : line.options()) {
    words.push_back(fmt::format("--{}\t{}", option.name, option.help));
  }
  for (const OptionInfo& option : line.options()) {
    if (option.letter != 0) words.push_back(fmt::format("-{}\t{}", option.letter, option.help));
  }
  return words;
}

// Existing devices, and the remains of dead servers: by number, by name and by path.
Candidates devices() {
  std::vector<uint32_t> numbers = numbers_in_kernel();
  Candidates words;
  for (const DeviceRecord& record : read_records()) {
    numbers.push_back(record.id);
    if (!record.name.empty()) words.push_back(fmt::format("{}\t{}", record.name, record.path));
    if (!record.path.empty())
      words.push_back(fmt::format("{}\t{}", record.path, described(record)));
  }
  std::ranges::sort(numbers);
  const auto doubles = std::ranges::unique(numbers);
  numbers.erase(doubles.begin(), doubles.end());
  Candidates all;
  for (const uint32_t number : numbers) all.push_back(fmt::format("{}", number));
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

}  // namespace
}  // namespace sluice::cli
