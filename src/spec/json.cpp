#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <utility>

#include "spec/json_value.hpp"
#include "spec/rules.hpp"
#include "spec/shown.hpp"
#include "spec/spec.hpp"

namespace sluice {
namespace {

// A target and its array of children are two levels; the innermost may contain a {"hex":...}.
constexpr size_t kJsonNestingMax = 2 * kSpecNestingMax + 1;

constexpr std::string_view kTargetKey = "target";
constexpr std::string_view kChildrenKey = "children";

Result<Spec> read_target(const JsonValue& json, std::span<const TargetSyntax> vocabulary,
                         size_t depth, const JsonStep& step);
Result<const TargetSyntax*> find_named_target(const JsonValue& json,
                                              std::span<const TargetSyntax> vocabulary,
                                              const JsonStep& step);
Result<void> read_member(Spec& spec, const JsonValue& member, const TargetSyntax& target,
                         std::span<const TargetSyntax> vocabulary, size_t depth,
                         const JsonStep& step);
Result<void> read_children(Spec& spec, const JsonValue& json, const TargetSyntax& target,
                           std::span<const TargetSyntax> vocabulary, size_t depth,
                           const JsonStep& step);
Result<OptionValue> read_option(const OptionSyntax& option, const JsonValue& json,
                                const JsonStep& step);
std::unexpected<Error> wrong_type(const OptionSyntax& option, const JsonValue& json,
                                  const JsonStep& step);
std::string_view kind_name(JsonValue::Kind kind);
JsonValue write_target(const Spec& spec, std::span<const TargetSyntax> vocabulary);
JsonValue write_option(const OptionSyntax* option, const OptionValue& value);

}  // namespace

Result<Spec> parse_json(std::string_view text, std::span<const TargetSyntax> vocabulary) {
  const Result<JsonValue> tree = read_json(text, kJsonNestingMax);
  if (!tree) return std::unexpected(tree.error());
  const JsonStep top;
  return read_target(*tree, vocabulary, 1, top);
}

std::string to_json(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  return to_text(write_target(spec, vocabulary));
}

JsonValue spec_json(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  return write_target(spec, vocabulary);
}

namespace {

Result<Spec> read_target(const JsonValue& json, std::span<const TargetSyntax> vocabulary,
                         size_t depth, const JsonStep& step) {
  const SourceLocation location = SourceLocation::at(step);
  if (json.kind == JsonValue::Kind::text) return parse_text(json.text, vocabulary, depth, &step);
  if (json.kind != JsonValue::Kind::object) {
    return fail(EINVAL, fmt::format("a target should stand{}, found {}: write an object or a spec"
                                    " text in double quotes",
                                    location.describe(), kind_name(json.kind)));
  }
  Result<void> checked = check_nesting(depth, location);
  if (!checked) return std::unexpected(std::move(checked).error());
  const Result<const TargetSyntax*> target = find_named_target(json, vocabulary, step);
  if (!target) return std::unexpected(target.error());

  Spec spec{.target = std::string((*target)->name)};
  for (size_t index = 0; index < json.items.size(); ++index) {
    const JsonValue& member = json.items[index];
    const JsonStep here = step / member.name;
    for (size_t before = 0; before < index; ++before) {
      if (json.items[before].name != member.name) continue;
      return fail(EINVAL, fmt::format("the key{} occurs twice: give it once",
                                      SourceLocation::at(here).describe()));
    }
    checked = read_member(spec, member, **target, vocabulary, depth, here);
    if (!checked) return std::unexpected(std::move(checked).error());
  }
  checked = check_complete(spec, **target, location);
  if (!checked) return std::unexpected(std::move(checked).error());
  return spec;
}

Result<const TargetSyntax*> find_named_target(const JsonValue& json,
                                              std::span<const TargetSyntax> vocabulary,
                                              const JsonStep& step) {
  for (const JsonValue& member : json.items) {
    if (member.name != kTargetKey) continue;
    const JsonStep here = step / kTargetKey;
    if (member.kind != JsonValue::Kind::text) {
      return fail(EINVAL, fmt::format("a target's name should stand{}, found {}",
                                      SourceLocation::at(here).describe(), kind_name(member.kind)));
    }
    const TargetSyntax* target = find_target(vocabulary, member.text);
    if (target == nullptr) return unknown_target(member.text, SourceLocation::at(here), vocabulary);
    return target;
  }
  return fail(EINVAL, fmt::format("the object{} has no key \"{}\": add it, such as {{\"{}\":"
                                  "\"stripe\", ...}}",
                                  SourceLocation::at(step).describe(), kTargetKey, kTargetKey));
}

Result<void> read_member(Spec& spec, const JsonValue& member, const TargetSyntax& target,
                         std::span<const TargetSyntax> vocabulary, size_t depth,
                         const JsonStep& step) {
  if (member.name == kTargetKey) return {};
  if (member.name == kChildrenKey) {
    return read_children(spec, member, target, vocabulary, depth, step);
  }
  const OptionSyntax* option = find_option(target, member.name);
  if (option == nullptr) {
    const std::string_view keys[] = {kTargetKey, kChildrenKey};
    return unknown_option(target, member.name, SourceLocation::at(step), keys);
  }
  Result<OptionValue> value = read_option(*option, member, step);
  if (!value) return std::unexpected(std::move(value).error());
  return add_option(spec, target, *option, *std::move(value), SourceLocation::at(step));
}

Result<void> read_children(Spec& spec, const JsonValue& json, const TargetSyntax& target,
                           std::span<const TargetSyntax> vocabulary, size_t depth,
                           const JsonStep& step) {
  if (json.kind != JsonValue::Kind::array) {
    return fail(EINVAL, fmt::format("an array of targets should stand{}, found {}",
                                    SourceLocation::at(step).describe(), kind_name(json.kind)));
  }
  for (size_t index = 0; index < json.items.size(); ++index) {
    const JsonStep here = step[index];
    Result<void> checked = check_child_limit(target, index + 1, SourceLocation::at(here));
    if (!checked) return checked;
    Result<Spec> child = read_target(json.items[index], vocabulary, depth + 1, here);
    if (!child) return std::unexpected(std::move(child).error());
    spec.children.push_back(*std::move(child));
  }
  return {};
}

Result<OptionValue> read_option(const OptionSyntax& option, const JsonValue& json,
                                const JsonStep& step) {
  const bool is_text = json.kind == JsonValue::Kind::text;
  switch (option.kind) {
    case OptionKind::size:
    case OptionKind::count:
      if (json.kind == JsonValue::Kind::whole_number) return json.whole_number;
      if (is_text) return read_value(option, json.text, SourceLocation::at(step));
      break;
    case OptionKind::flag:
      if (json.kind == JsonValue::Kind::boolean) return json.boolean;
      break;
    case OptionKind::text:
    case OptionKind::path:
    case OptionKind::spec:
      if (auto bytes = bytes_of(json)) return *std::move(bytes);
      break;
  }
  return wrong_type(option, json, step);
}

std::unexpected<Error> wrong_type(const OptionSyntax& option, const JsonValue& json,
                                  const JsonStep& step) {
  std::string_view wanted;
  switch (option.kind) {
    case OptionKind::size:
      wanted = "a whole number of bytes, or a size in double quotes such as \"64k\"";
      break;
    case OptionKind::count:
      wanted = "a whole number from 0 up";
      break;
    case OptionKind::flag:
      wanted = "true or false";
      break;
    case OptionKind::text:
    case OptionKind::path:
    case OptionKind::spec:
      wanted = "a text in double quotes, or {\"hex\":\"...\"} for bytes that are not UTF-8";
      break;
  }
  return fail(EINVAL,
              fmt::format("the value of option '{}'{} is {}: write {}", option.name,
                          SourceLocation::at(step).describe(), kind_name(json.kind), wanted));
}

std::string_view kind_name(JsonValue::Kind kind) {
  switch (kind) {
    case JsonValue::Kind::null:
      return "null";
    case JsonValue::Kind::boolean:
      return "true or false";
    case JsonValue::Kind::whole_number:
      return "a number";
    case JsonValue::Kind::other_number:
      return "a number that is negative, too large or not whole";
    case JsonValue::Kind::text:
      return "a text";
    case JsonValue::Kind::array:
      return "an array";
    case JsonValue::Kind::object:
      return "an object";
  }
  return "something else";
}

JsonValue write_target(const Spec& spec, std::span<const TargetSyntax> vocabulary) {
  const TargetSyntax* target = find_target(vocabulary, spec.target);
  JsonValue json = JsonValue::object();
  json.set(kTargetKey, spec.target);
  for (const auto& [name, value] : spec.options) {
    json.set(name, write_option(target == nullptr ? nullptr : find_option(*target, name), value));
  }
  if (spec.children.empty()) return json;
  JsonValue children = JsonValue::array();
  for (const Spec& child : spec.children) children.push_back(write_target(child, vocabulary));
  json.set(kChildrenKey, std::move(children));
  return json;
}

JsonValue write_option(const OptionSyntax* option, const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    if (option != nullptr && option->kind == OptionKind::size) return write_value(*option, value);
    return *number;
  }
  return bytes_json(std::get<std::string>(value));
}

}  // namespace
}  // namespace sluice
