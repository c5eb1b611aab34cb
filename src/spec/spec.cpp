#include "spec/spec.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "spec/rules.hpp"

namespace sluice {
namespace {

Result<void> make_written_absolute(std::string& text, std::string_view option,
                                   std::span<const TargetSyntax> vocabulary,
                                   std::string_view directory);
const OptionValue* find_value(const Spec& spec, std::string_view option);
template <typename Value>
Value value_or(const Spec& spec, std::string_view option, Value fallback);
Result<void> check_target(const Spec& spec, std::span<const TargetSyntax> vocabulary, size_t depth,
                          const JsonStep& step);
void write_target(std::string& out, const Spec& spec, std::span<const TargetSyntax> vocabulary);
bool is_plain_leaf(const Spec& spec, const TargetSyntax* target);
bool can_stand_bare(std::string_view text, const TargetSyntax& target);
void write_plain_leaf(std::string& out, const Spec& spec, const TargetSyntax& target);
void write_option(std::string& out, const Spec& spec, size_t index, const TargetSyntax* target);
std::string written_value(const TargetSyntax* target, std::string_view option,
                          const OptionValue& value);
std::string quote_unless_plain(std::string_view text, bool is_argument);

}  // namespace

uint64_t Spec::number(std::string_view option, uint64_t fallback) const {
  return value_or<uint64_t>(*this, option, fallback);
}

bool Spec::flag(std::string_view option) const { return value_or<bool>(*this, option, false); }

std::string Spec::text(std::string_view option) const {
  return value_or<std::string>(*this, option, {});
}

bool Spec::has(std::string_view option) const { return find_value(*this, option) != nullptr; }

void Spec::set(std::string_view option, OptionValue value) {
  for (auto& [name, old_value] : options) {
    if (name != option) continue;
    old_value = std::move(value);
    return;
  }
  options.emplace_back(option, std::move(value));
}

Result<void> check_spec(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  const JsonStep top;
  if (Result<void> checked = check_target(spec, vocabulary, 1, top); !checked) return checked;
  return check_written_size(spec, vocabulary);
}

std::string to_text(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  std::string out;
  write_target(out, spec, vocabulary);
  return out;
}

Result<void> make_paths_absolute(Spec& spec, std::span<const TargetSyntax> vocabulary,
                                 std::string_view directory) {
  if (!directory.starts_with('/')) {
    return fail(EINVAL, fmt::format("'{}' is no absolute path", directory));
  }
  if (const TargetSyntax* target = find_target(vocabulary, spec.target); target != nullptr) {
    for (auto& [name, value] : spec.options) {
      const OptionSyntax* option = find_option(*target, name);
      auto* path = std::get_if<std::string>(&value);
      if (option == nullptr || path == nullptr) continue;
      if (option->kind == OptionKind::spec) {
        if (auto made = make_written_absolute(*path, name, vocabulary, directory); !made) {
          return made;
        }
      }
      if (option->kind != OptionKind::path || path->empty() || path->starts_with('/')) {
        continue;
      }
      *path = fmt::format("{}{}{}", directory, directory.ends_with('/') ? "" : "/", *path);
    }
  }
  for (Spec& child : spec.children) {
    if (auto made = make_paths_absolute(child, vocabulary, directory); !made) return made;
  }
  return {};
}

namespace {

Result<void> make_written_absolute(std::string& text, std::string_view option,
                                   std::span<const TargetSyntax> vocabulary,
                                   std::string_view directory) {
  auto spec = parse_spec(text, vocabulary);
  if (!spec) {
    return fail(spec.error().error, fmt::format("option '{}': {}", option, spec.error().text));
  }
  if (auto made = make_paths_absolute(*spec, vocabulary, directory); !made) return made;
  text = to_text(*spec, vocabulary);
  return {};
}

const OptionValue* find_value(const Spec& spec, std::string_view option) {
  for (const auto& [name, value] : spec.options) {
    if (name == option) return &value;
  }
  return nullptr;
}

template <typename Value>
Value value_or(const Spec& spec, std::string_view option, Value fallback) {
  const Value* const typed = std::get_if<Value>(find_value(spec, option));
  return typed == nullptr ? fallback : *typed;
}

Result<void> check_target(const Spec& spec, std::span<const TargetSyntax> vocabulary, size_t depth,
                          const JsonStep& step) {
  const SourceLocation location = SourceLocation::at(step);
  if (Result<void> checked = check_nesting(depth, location); !checked) return checked;
  const TargetSyntax* target = find_target(vocabulary, spec.target);
  if (target == nullptr) return unknown_target(spec.target, location, vocabulary);

  Spec seen;  // add_option() detects duplicates
  for (const auto& [name, value] : spec.options) {
    const JsonStep here = step / name;
    const OptionSyntax* option = find_option(*target, name);
    if (option == nullptr) return unknown_option(*target, name, SourceLocation::at(here));
    Result<void> added = add_option(seen, *target, *option, value, SourceLocation::at(here));
    if (!added) return added;
  }
  if (Result<void> checked = check_complete(spec, *target, location); !checked) return checked;
  const JsonStep children = step / "children";
  for (size_t index = 0; index < spec.children.size(); ++index) {
    const JsonStep here = children[index];
    Result<void> checked = check_child_limit(*target, index + 1, SourceLocation::at(here));
    if (checked) checked = check_target(spec.children[index], vocabulary, depth + 1, here);
    if (!checked) return checked;
  }
  return {};
}

void write_target(std::string& out, const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  const TargetSyntax* target = find_target(vocabulary, spec.target);
  if (is_plain_leaf(spec, target)) {
    write_plain_leaf(out, spec, *target);
    return;
  }
  out += spec.target;
  out += '(';
  bool is_first = true;
  const auto separate = [&] {
    if (!is_first) out += ", ";
    is_first = false;
  };
  for (const Spec& child : spec.children) {
    separate();
    write_target(out, child, vocabulary);
  }
  for (size_t index = 0; index < spec.options.size(); ++index) {
    separate();
    write_option(out, spec, index, target);
  }
  out += ')';
}

// Only the leaf option: `a.img`, `null:250G`.
bool is_plain_leaf(const Spec& spec, const TargetSyntax* target) {
  return target != nullptr && !target->leaf_option.empty() && spec.children.empty() &&
         spec.options.size() == 1 && spec.options[0].first == target->leaf_option;
}

void write_plain_leaf(std::string& out, const Spec& spec, const TargetSyntax& target) {
  const OptionValue& value = spec.options[0].second;
  const auto* text = std::get_if<std::string>(&value);
  const std::string_view prefix = leaf_prefix(target);
  if (text != nullptr && can_stand_bare(*text, target)) {
    out += *text;
    return;
  }
  // A path that begins like a URI needs its prefix.
  if (prefix == kFilePrefix && text != nullptr && !begins_as_uri(*text)) {
    out += quote_unless_plain(*text, true);
    return;
  }
  out += prefix;
  out += ':';
  out += written_value(&target, target.leaf_option, value);
}

// A URI of the target that ends where the parser sees its end.
bool can_stand_bare(std::string_view text, const TargetSyntax& target) {
  const bool is_plain = std::ranges::all_of(text, [](char byte) {
    return byte > ' ' && byte < 0x7f &&
           std::string_view(",()\"\\").find(byte) == std::string_view::npos;
  });
  return is_plain && begins_as_uri(text) && find_scheme({&target, 1}, text) != nullptr;
}

void write_option(std::string& out, const Spec& spec, size_t index, const TargetSyntax* target) {
  const auto& [name, value] = spec.options[index];
  const auto* text = std::get_if<std::string>(&value);
  // The file name of a leaf, which comes first: loop(a.img, offset=1M).
  if (index == 0 && text != nullptr && target != nullptr && target->children_maximum == 0 &&
      name == target->leaf_option) {
    out += quote_unless_plain(*text, true);
    return;
  }
  out += name;
  if (value == OptionValue(true)) return;
  out += '=';
  out += written_value(target, name, value);
}

std::string written_value(const TargetSyntax* target, std::string_view option,
                          const OptionValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return quote_unless_plain(*text, false);
  const OptionSyntax* syntax = target == nullptr ? nullptr : find_option(*target, option);
  return write_value(syntax == nullptr ? OptionSyntax() : *syntax, value);
}

// Plain text is unambiguous for people and for the parser. As an argument it must not look like a
// name or a prefix either; no name contains '.' or '/'.
std::string quote_unless_plain(std::string_view text, bool is_argument) {
  const bool is_harmless = std::ranges::all_of(text, [](char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || static_cast<unsigned char>(byte) >= 0x80 ||
           std::string_view("_./+-@%~:").find(byte) != std::string_view::npos;
  });
  const bool looks_named = text.find_first_of("./") == std::string_view::npos ||
                           text.substr(0, text.find('/')).contains(':');
  if (!text.empty() && is_harmless && !(is_argument && looks_named)) return std::string(text);

  std::string quoted = "\"";
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') quoted += '\\';
    quoted += byte;
  }
  quoted += '"';
  return quoted;
}

}  // namespace
}  // namespace sluice
