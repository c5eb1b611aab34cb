// The stack of `sluice add`.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cli/add_options.hpp"
#include "cli/values.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

Outcome<Spec> put_together(const CommandLine& line, const TargetSyntax& target);
Outcome<void> place_files(Spec& spec, const CommandLine& line, const TargetSyntax& target);
Result<uint64_t> read_offset(const std::string& text, Grammar grammar);
Outcome<OptionValue> check_range(const OptionSyntax& option, uint64_t number);
const TargetSyntax* target_of_files();
bool takes_file(const TargetSyntax& target);
bool target_has_option(std::string_view type, std::string_view option);

}  // namespace

Outcome<Spec> read_spec(const CommandLine& line, std::istream& in) {
  if (line.has("type") && line.word()) {
    if (line.has("snapshot") && target_has_option(line.text("type"), "snapshot")) {
      return usage(
          fmt::format("--snapshot takes no name: for the internal snapshot {} write SPEC "
                      "'{}(FILE, snapshot=NAME)'",
                      shown(*line.word()), line.text("type")));
    }
    return usage(fmt::format("-t {} and the SPEC {} both say what to serve: give one of them",
                             printable(line.text("type"), 64), shown(*line.word())));
  }
  if (line.has("type")) {
    const auto target = find_target_named(line.text("type"));
    if (!target) return std::unexpected(target.error());
    return put_together(line, **target);
  }
  if (!line.word()) return usage("nothing to serve: give -t TYPE or SPEC (see 'sluice help add')");
  if (line.has("file")) {
    return usage("-f goes with -t TYPE only: write the file into the SPEC, as in 'stripe(a, b)'");
  }
  return read_written_spec(*line.word(), in);
}

Outcome<OptionValue> read_option_value(const OptionSyntax& option, const std::string& text,
                                       Grammar grammar) {
  switch (option.kind) {
    case OptionKind::size: {
      const auto size = option.name == kOffset
                            ? read_offset(text, grammar)
                            : parse_size(text, fmt::format(" for --{}", option.name));
      if (!size) return failed(size.error());
      return check_range(option, *size);
    }
    case OptionKind::count: {
      const auto number = parse_digits(text);
      if (number) return check_range(option, *number);
      return failed(fmt::format("--{} takes a whole number, found {}", option.name, shown(text)));
    }
    case OptionKind::flag:
      if (text == "yes" || text == "true" || text == "on" || text == "1") return true;
      if (text == "no" || text == "false" || text == "off" || text == "0") return false;
      return failed(fmt::format("--{} takes yes or no, found {}", option.name, shown(text)));
    case OptionKind::text:
    case OptionKind::path:
    case OptionKind::spec:
      break;
  }
  return text;
}

Outcome<Spec> read_written_spec(const std::string& word, std::istream& in) {
  std::string text = word;
  if (word == "-") {
    text.resize(kSpecBytesMax + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    if (in.bad()) {
      return failed(
          fmt::format("cannot read the spec from the standard input: {}", std::strerror(errno)));
    }
  }
  auto spec = parse_spec(text, target_vocabulary());
  if (!spec) return failed(spec.error());
  return *spec;
}

namespace {

Outcome<Spec> put_together(const CommandLine& line, const TargetSyntax& target) {
  Spec spec{.target = std::string(target.name)};
  if (auto placed = place_files(spec, line, target); !placed) {
    return std::unexpected(placed.error());
  }
  for (const OptionSyntax& option : target.options) {
    const OptionInfo* const known = line.find(option.name);
    if (known == nullptr || !known->of_target) continue;
    const auto values = line.values(option.name);
    if (values.empty()) continue;
    if (values.size() > 1 || spec.has(option.name)) {
      return failed(fmt::format("--{} is given twice: give it once", option.name));
    }
    auto value = read_option_value(option, values.front(), line.grammar());
    if (!value) return std::unexpected(value.error());
    spec.set(option.name, std::move(*value));
  }
  for (const OptionSyntax& option : target.options) {
    if (!option.required || spec.has(option.name)) continue;
    const OptionInfo* const known = line.find(option.name);
    return failed(fmt::format("target '{}' needs {} {}{}", target.name, known->shown(),
                              known->value,
                              option.help.empty() ? "" : fmt::format(", {}", option.help)));
  }
  if (auto checked = check_spec(spec, target_vocabulary()); !checked) {
    return failed(checked.error());
  }
  return spec;
}

// -f is the file of a target with a file, and otherwise a child of the target.
Outcome<void> place_files(Spec& spec, const CommandLine& line, const TargetSyntax& target) {
  const auto files = line.values("file");
  if (takes_file(target)) {
    if (files.size() > 1) {
      return failed(
          fmt::format("target '{}' takes one -f FILE, found {}", target.name, files.size()));
    }
    if (!files.empty()) spec.set(target.leaf_option, files.front());
    return {};
  }
  if (target.children_maximum == 0) {
    if (files.empty()) return {};
    return failed(fmt::format("target '{}' takes no -f FILE", target.name));
  }
  const TargetSyntax* const leaf = target_of_files();
  for (const std::string& file : files) {
    spec.children.push_back(
        {.target = std::string(leaf->name), .options = {{std::string(leaf->leaf_option), file}}});
  }
  const size_t count = spec.children.size();
  if (count >= target.children_minimum && count <= target.children_maximum) return {};
  const bool is_low = count < target.children_minimum;
  return failed(fmt::format("target '{}' takes {} {} -f FILE, found {}", target.name,
                            is_low ? "at least" : "at most",
                            is_low ? target.children_minimum : target.children_maximum, count));
}

// ublk counts sectors here and a spec counts bytes: a bare number could be either.
Result<uint64_t> read_offset(const std::string& text, Grammar grammar) {
  const std::string where = fmt::format(" for --{}", kOffset);
  const auto number = parse_digits(text);
  if (!number || *number == 0) return parse_size(text, where);
  if (grammar == Grammar::ublk) return parse_size(text + "s", where);
  const auto sectors = parse_size(text + "s", where);
  if (!sectors) return sectors;
  std::string bytes = format_size(*number);
  if (bytes == text) bytes += 'B';
  return fail(EINVAL, fmt::format("{}{} could be sectors or bytes: write {}s (that is {}) or {}",
                                  shown(text), where, text, format_size(*sectors), bytes));
}

Outcome<OptionValue> check_range(const OptionSyntax& option, uint64_t number) {
  if (number >= option.minimum && number <= option.maximum) return number;
  const bool is_low = number < option.minimum;
  const uint64_t bound = is_low ? option.minimum : option.maximum;
  return failed(
      fmt::format("--{} takes {} or {}", option.name,
                  option.kind == OptionKind::size ? format_size(bound) : fmt::format("{}", bound),
                  is_low ? "more" : "less"));
}

// The meaning of a bare file name in a spec.
const TargetSyntax* target_of_files() {
  const auto vocabulary = target_vocabulary();
  const auto found = std::ranges::find(vocabulary, "file", &TargetSyntax::prefix);
  return found == vocabulary.end() ? nullptr : &*found;
}

bool target_has_option(std::string_view type, std::string_view option) {
  const auto target = find_target_named(type);
  return target && std::ranges::find((*target)->options, option, &OptionSyntax::name) !=
                       (*target)->options.end();
}

bool takes_file(const TargetSyntax& target) {
  const auto option = std::ranges::find(target.options, target.leaf_option, &OptionSyntax::name);
  return option != target.options.end() && option->kind == OptionKind::path;
}

}  // namespace
}  // namespace sluice::cli
