#include "spec/rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice {
namespace {

std::vector<std::string_view> option_names(const TargetSyntax& target);
Result<OptionValue> read_count(const OptionSyntax& option, std::string_view text,
                               const SourceLocation& location);
Result<OptionValue> read_flag(const OptionSyntax& option, std::string_view text,
                              const SourceLocation& location);
Result<void> check_value(const OptionSyntax& option, const OptionValue& value,
                         const SourceLocation& location);
Result<void> check_range(const OptionSyntax& option, uint64_t number,
                         const SourceLocation& location);
std::string children_wanted(const TargetSyntax& target);

}  // namespace

const TargetSyntax* find_target(std::span<const TargetSyntax> vocabulary, std::string_view name) {
  const auto found = std::ranges::find(vocabulary, name, &TargetSyntax::name);
  return found == vocabulary.end() ? nullptr : &*found;
}

const OptionSyntax* find_option(const TargetSyntax& target, std::string_view name) {
  const auto found = std::ranges::find(target.options, name, &OptionSyntax::name);
  return found == target.options.end() ? nullptr : &*found;
}

std::string_view leaf_prefix(const TargetSyntax& target) {
  if (target.leaf_option.empty()) return {};
  return target.prefix.empty() ? target.name : target.prefix;
}

const TargetSyntax* find_prefix(std::span<const TargetSyntax> vocabulary, std::string_view prefix) {
  if (prefix.empty()) return nullptr;
  const auto found = std::ranges::find(vocabulary, prefix, leaf_prefix);
  return found == vocabulary.end() ? nullptr : &*found;
}

// RFC 3986, 3.1; in lower case.
bool begins_as_uri(std::string_view text) {
  const size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789+-.");
  return end != 0 && end != std::string_view::npos && text.substr(end).starts_with("://");
}

const TargetSyntax* find_scheme(std::span<const TargetSyntax> vocabulary, std::string_view uri) {
  const std::string_view scheme = uri.substr(0, uri.find(':'));
  const auto found = std::ranges::find_if(vocabulary, [&](const TargetSyntax& each) {
    return std::ranges::find(each.schemes, scheme) != each.schemes.end();
  });
  return found == vocabulary.end() ? nullptr : &*found;
}

std::unexpected<Error> unknown_target(std::string_view name, const SourceLocation& location,
                                      std::span<const TargetSyntax> vocabulary) {
  std::vector<std::string_view> names;
  for (const TargetSyntax& target : vocabulary) names.push_back(target.name);
  const std::string nearest = did_you_mean(name, names);
  const std::string what = fmt::format("unknown target {}{}", shown(name), location.describe());
  if (nearest.empty()) return fail(EINVAL, fmt::format("{}: sluice targets lists all", what));
  return fail(EINVAL, fmt::format("{}: {} (sluice targets lists all)", what, nearest));
}

std::unexpected<Error> unknown_prefix(std::string_view word, std::string_view prefix,
                                      const SourceLocation& location,
                                      std::span<const TargetSyntax> vocabulary) {
  std::vector<std::string_view> prefixes;
  for (const TargetSyntax& target : vocabulary) {
    if (!leaf_prefix(target).empty()) prefixes.push_back(leaf_prefix(target));
  }
  std::string advice = "write";
  const std::string nearest = did_you_mean(prefix, prefixes);
  if (const TargetSyntax* target = find_target(vocabulary, prefix); target != nullptr) {
    const std::string_view right = leaf_prefix(*target);
    advice = right.empty() ? fmt::format("write {}(...), or", prefix)
                           : fmt::format("write {}:... or {}(...), or", right, prefix);
  } else if (!nearest.empty()) {
    advice = fmt::format("{} If not, write", nearest);
  }
  return fail(EINVAL, fmt::format("unknown prefix {}{}: {} {} for a file of that name",
                                  shown(prefix), location.describe(), advice,
                                  shown(fmt::format("{}:{}", kFilePrefix, word))));
}

std::unexpected<Error> unknown_option(const TargetSyntax& target, std::string_view name,
                                      const SourceLocation& location,
                                      std::span<const std::string_view> more) {
  std::vector<std::string_view> names = option_names(target);
  const std::string what = fmt::format("option {}{}", shown(name), location.describe());
  const std::string known =
      names.empty()
          ? fmt::format("{} is refused: {} takes no options", what, target.name)
          : fmt::format("{} is not one of {}'s ({})", what, target.name, fmt::join(names, ", "));
  names.insert(names.end(), more.begin(), more.end());
  const std::string nearest = did_you_mean(name, names);
  return fail(EINVAL, nearest.empty() ? known : fmt::format("{}: {}", known, nearest));
}

Result<OptionValue> read_value(const OptionSyntax& option, std::string_view text,
                               const SourceLocation& location) {
  switch (option.kind) {
    case OptionKind::size: {
      if (const Result<uint64_t> bytes = parse_size(text)) return *bytes;
      // Parsed again, because only the error needs the location.
      return std::unexpected(parse_size(text, location.describe()).error());
    }
    case OptionKind::count:
      return read_count(option, text, location);
    case OptionKind::flag:
      return read_flag(option, text, location);
    case OptionKind::text:
    case OptionKind::path:
    case OptionKind::spec:
      break;
  }
  return std::string(text);
}

std::string write_value(const OptionSyntax& option, const OptionValue& value) {
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    return option.kind == OptionKind::size ? format_size(*number) : fmt::format("{}", *number);
  }
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "yes" : "no";
  return std::get<std::string>(value);
}

Result<void> add_option(Spec& spec, const TargetSyntax& target, const OptionSyntax& option,
                        OptionValue value, const SourceLocation& location) {
  if (spec.has(option.name)) {
    return fail(EINVAL, fmt::format("option '{}' of {} is given again{}: give it once", option.name,
                                    target.name, location.describe()));
  }
  if (Result<void> checked = check_value(option, value, location); !checked) return checked;
  spec.options.emplace_back(option.name, std::move(value));
  return {};
}

Result<void> check_nesting(size_t depth, const SourceLocation& location) {
  if (depth <= kSpecNestingMax) return {};
  return fail(EINVAL, fmt::format("the target{} is nested too deeply: {} levels are the limit",
                                  location.describe(), kSpecNestingMax));
}

Result<void> check_child_limit(const TargetSyntax& target, size_t count,
                               const SourceLocation& location) {
  if (count <= kSpecChildrenMax) return {};
  return fail(EINVAL, fmt::format("child {} of target '{}'{} is one too many: {} are the limit",
                                  count, target.name, location.describe(), kSpecChildrenMax));
}

Result<void> check_complete(const Spec& spec, const TargetSyntax& target,
                            const SourceLocation& location) {
  for (const OptionSyntax& option : target.options) {
    if (!option.required || spec.has(option.name)) continue;
    return fail(EINVAL, fmt::format("target '{}'{} lacks its option '{}'{}: add it", target.name,
                                    location.describe(), option.name,
                                    option.help.empty() ? "" : fmt::format(" ({})", option.help)));
  }
  const size_t found = spec.children.size();
  if (found < target.children_minimum || found > target.children_maximum) {
    return fail(EINVAL, fmt::format("target '{}'{} takes {}, found {}", target.name,
                                    location.describe(), children_wanted(target), found));
  }
  return {};
}

Result<void> check_written_size(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  // The JSON form is the longer one for every spec.
  const size_t bytes = to_json(spec, vocabulary).size();
  if (bytes <= kSpecBytesMax) return {};
  return fail(EINVAL, fmt::format("the spec takes {} bytes as JSON: {} are the limit", bytes,
                                  kSpecBytesMax));
}

namespace {

std::vector<std::string_view> option_names(const TargetSyntax& target) {
  std::vector<std::string_view> names;
  for (const OptionSyntax& option : target.options) names.push_back(option.name);
  return names;
}

Result<OptionValue> read_count(const OptionSyntax& option, std::string_view text,
                               const SourceLocation& location) {
  uint64_t number = 0;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (error == std::errc() && stop == end) return number;
  if (error == std::errc::result_out_of_range && stop == end) {
    return fail(ERANGE, fmt::format("{}{} is too large a number for '{}'", shown(text),
                                    location.describe(), option.name));
  }
  return fail(EINVAL, fmt::format("{}{} is not a whole number, which '{}' takes: write digits only",
                                  shown(text), location.describe(), option.name));
}

Result<OptionValue> read_flag(const OptionSyntax& option, std::string_view text,
                              const SourceLocation& location) {
  for (const std::string_view word : {"yes", "true", "on", "1"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"no", "false", "off", "0"}) {
    if (text == word) return false;
  }
  return fail(EINVAL,
              fmt::format("{}{} is neither yes nor no, which '{}' takes: write yes, true, on"
                          " or 1, or no, false, off or 0",
                          shown(text), location.describe(), option.name));
}

Result<void> check_value(const OptionSyntax& option, const OptionValue& value,
                         const SourceLocation& location) {
  const auto wrong_kind = [&](std::string_view wanted) {
    return fail(EINVAL, fmt::format("the value of option '{}'{} has the wrong type: give {}",
                                    option.name, location.describe(), wanted));
  };
  if (option.kind == OptionKind::size || option.kind == OptionKind::count) {
    const auto* number = std::get_if<uint64_t>(&value);
    return number == nullptr ? wrong_kind("a number") : check_range(option, *number, location);
  }
  if (option.kind == OptionKind::flag) {
    return std::holds_alternative<bool>(value) ? Result<void>() : wrong_kind("yes or no");
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return wrong_kind("a text");
  if (option.kind != OptionKind::path) return {};
  if (text->empty()) {
    return fail(EINVAL, fmt::format("the file name for '{}'{} is empty: give one", option.name,
                                    location.describe()));
  }
  // The kernel would take the part before the NUL as the whole name and open another file.
  if (text->find('\0') != std::string::npos) {
    return fail(EINVAL, fmt::format("the file name {}{} holds a NUL byte, which no file name can",
                                    shown(*text), location.describe()));
  }
  return {};
}

Result<void> check_range(const OptionSyntax& option, uint64_t number,
                         const SourceLocation& location) {
  const uint64_t maximum =
      option.kind == OptionKind::size ? std::min(option.maximum, kSizeMax) : option.maximum;
  if (number >= option.minimum && number <= maximum) return {};
  const bool is_low = number < option.minimum;
  return fail(EINVAL, fmt::format("option '{}'{} must be {} or {}, found {}", option.name,
                                  location.describe(),
                                  write_value(option, is_low ? option.minimum : maximum),
                                  is_low ? "more" : "less", write_value(option, number)));
}

std::string children_wanted(const TargetSyntax& target) {
  const uint32_t least = target.children_minimum;
  const uint32_t most = target.children_maximum;
  const auto counted = [](uint32_t count) {
    return fmt::format("{} {}", count, count == 1 ? "child" : "children");
  };
  if (most == 0) return "no children";
  if (least == most) return fmt::format("exactly {}", counted(least));
  if (most == UINT32_MAX) return fmt::format("at least {}", counted(least));
  if (least == 0) return fmt::format("at most {}", counted(most));
  return fmt::format("{} to {}", least, counted(most));
}

}  // namespace
}  // namespace sluice
