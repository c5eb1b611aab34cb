#include "cli/command_line.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "spec/nearest.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kHelpColumn = 30;

std::string library_names(const OptionInfo& option);
Outcome<void> check_before_parsing(std::span<const std::string> arguments);
std::string option_column(const OptionInfo& option);

}  // namespace

CommandLine::CommandLine(std::string command, Grammar grammar)
    : command_(std::move(command)), grammar_(grammar) {
  add({.letter = 'h', .name = "help", .help = "show this help"});
}

void CommandLine::add(OptionInfo option) { options_.push_back(std::move(option)); }

void CommandLine::refuse(char letter, std::string name, std::string why) {
  refused_.push_back({letter, std::move(name), std::move(why)});
}

Outcome<void> CommandLine::parse(std::vector<std::string> arguments) {
  // No argument after "--" is an option.
  const auto mark = std::ranges::find(arguments, "--");
  std::vector<std::string> behind;
  if (mark != arguments.end()) behind.assign(mark + 1, arguments.end());
  arguments.erase(mark, arguments.end());
  if (auto checked = check_before_parsing(arguments); !checked) return checked;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<CLI::Option*> parsed;
  for (const OptionInfo& option : options_) {
    if (option.value.empty()) {
      parsed.push_back(app.add_flag(library_names(option)));
      if (!option.flag_value) parsed.back()->disable_flag_override();
    } else {
      parsed.push_back(app.add_option(library_names(option)));
    }
    parsed.back()->take_all();
  }

  try {
    std::ranges::reverse(arguments);  // the library expects reverse order
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return std::unexpected(explain(error.what()));
  }
  order_.clear();
  for (const CLI::Option* const each : app.parse_order()) {
    const auto place = std::ranges::find(parsed, each) - parsed.begin();
    order_.push_back(options_[static_cast<size_t>(place)].name);
  }
  words_ = app.remaining();
  for (const std::string& each : words_) {
    if (each.starts_with('-') && each != "-") return std::unexpected(explain_option(each));
  }
  words_.insert(words_.end(), behind.begin(), behind.end());
  const bool any_number = !word_names_.empty() && word_names_.back().ends_with("...");
  if (words_.size() > word_names_.size() && !any_number) {
    return std::unexpected(explain_word(words_[word_names_.size()]));
  }
  values_.clear();
  for (size_t i = 0; i < options_.size(); ++i) {
    values_.push_back(parsed[i]->results());
    if (!options_[i].value.empty()) continue;
    for (std::string& value : values_.back()) value = value == "true" ? "yes" : value;
  }
  return {};
}

std::optional<std::string> CommandLine::word() const {
  if (words_.empty()) return std::nullopt;
  return words_.front();
}

std::string CommandLine::text(std::string_view name, std::string_view fallback) const {
  const auto given = values(name);
  return std::string(given.empty() ? fallback : given.back());
}

std::span<const std::string> CommandLine::values(std::string_view name) const {
  const auto found = std::ranges::find(options_, name, &OptionInfo::name);
  if (found == options_.end() || values_.empty()) return {};
  return values_[static_cast<size_t>(found - options_.begin())];
}

const OptionInfo* CommandLine::find(std::string_view name) const {
  const auto found = std::ranges::find_if(options_, [&](const OptionInfo& each) {
    return canonical_name(each.name) == canonical_name(name);
  });
  return found == options_.end() ? nullptr : &*found;
}

std::string CommandLine::options_help(bool of_target) const {
  std::string help;
  for (const OptionInfo& option : options_) {
    if (option.of_target != of_target) continue;
    std::string column = option_column(option);
    if (column.size() + 2 > kHelpColumn) column += "\n";
    help += column;
    const size_t width = column.ends_with('\n') ? 0 : column.size();
    help += std::string(kHelpColumn - width, ' ') + option.help + "\n";
  }
  return help;
}

// The library's message begins with the name of the option.
Failure CommandLine::explain(std::string_view library_text) const {
  const std::string_view dashed = library_text.substr(0, library_text.find_first_of(": "));
  const size_t dashes = std::min(dashed.find_first_not_of('-'), dashed.size());
  const std::string_view name = dashed.substr(dashes);
  const auto option = std::ranges::find_if(options_, [&](const OptionInfo& each) {
    return canonical_name(each.name) == canonical_name(name) ||
           name == std::string_view(&each.letter, 1);
  });
  if (option == options_.end()) return {Exit::usage, printable(library_text, 200)};
  if (option->value.empty()) {
    return {Exit::usage, fmt::format("option {} takes no value", option->shown())};
  }
  return {Exit::usage, fmt::format("option {} needs its {}", option->shown(), option->value)};
}

Failure CommandLine::explain_word(const std::string& word) const {
  return {Exit::usage, fmt::format("unexpected argument {} (see 'sluice help {}')",
                                   sluice::shown(word), command_)};
}

std::optional<Failure> CommandLine::refusal_of(std::string_view name) const {
  const auto found = std::ranges::find(refused_, canonical_name(name), &Refused::name);
  if (found == refused_.end()) return std::nullopt;
  return Failure{Exit::usage, found->why};
}

Failure CommandLine::explain_option(const std::string& argument) const {
  const bool is_long = argument.starts_with("--");
  const std::string written = argument.substr(0, is_long ? argument.find('=') : 2);
  const std::string name = canonical_name(std::string_view(written).substr(is_long ? 2 : 1));
  for (const Refused& refused : refused_) {
    const bool is_it = is_long ? refused.name == name : name == std::string(1, refused.letter);
    if (is_it) return {Exit::usage, refused.why};
  }
  if (blame_) return *blame_;
  const std::string what =
      fmt::format("unknown option {} of 'sluice {}'", sluice::shown(written), command_);
  std::vector<std::string> names;
  names.reserve(options_.size());
  for (const OptionInfo& option : options_) names.push_back("--" + option.name);
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string nearest = is_long ? did_you_mean("--" + name, candidates) : std::string();
  if (!nearest.empty()) return {Exit::usage, fmt::format("{}: {}", what, nearest)};
  return {Exit::usage, fmt::format("{} (see 'sluice help {}')", what, command_)};
}

std::string OptionInfo::shown() const {
  return letter != 0 ? fmt::format("-{}", letter) : fmt::format("--{}", name);
}

std::string canonical_name(std::string_view name) {
  std::string canonical(name);
  std::ranges::replace(canonical, '-', '_');
  return canonical;
}

namespace {

// "-n,--number", with the second spelling of the long name.
std::string library_names(const OptionInfo& option) {
  std::string names = option.letter == 0 ? "" : fmt::format("-{},", option.letter);
  names += "--" + option.name;
  std::string other = canonical_name(option.name);
  if (other == option.name) std::ranges::replace(other, '_', '-');
  if (other != option.name) names += ",--" + other;
  return names;
}

// The library would take the next argument as the value of `--name=`, which would hide the error.
Outcome<void> check_before_parsing(std::span<const std::string> arguments) {
  for (const std::string& argument : arguments) {
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1) {
      return usage(fmt::format("option {} has an empty value: write it behind the '='",
                               shown(argument.substr(0, argument.size() - 1))));
    }
  }
  return {};
}

std::string option_column(const OptionInfo& option) {
  std::string column = option.letter == 0 ? "      " : fmt::format("  -{}, ", option.letter);
  column += "--" + option.name;
  if (!option.value.empty()) column += " " + option.value;
  if (option.flag_value) column += "[=no]";
  return column;
}

}  // namespace
}  // namespace sluice::cli
