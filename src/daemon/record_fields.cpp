#include "daemon/record_fields.hpp"

#include <fmt/format.h>

#include <climits>

#include "spec/shown.hpp"
#include "spec/spec.hpp"

namespace sluice {
namespace {

// A spec in the record: a target and its array of children are two levels each.
constexpr size_t kNestingMax = 2 * kSpecNestingMax + 4;
constexpr size_t kShownBytes = 40;

// A number, a text or the type, for a message.
std::string brief(const JsonValue& value) {
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return printable(to_text(value), kShownBytes);
}

std::optional<uint64_t> whole_number(const JsonValue& value, uint64_t minimum, uint64_t maximum) {
  if (value.kind != JsonValue::Kind::whole_number) return std::nullopt;
  if (value.whole_number < minimum || value.whole_number > maximum) return std::nullopt;
  return value.whole_number;
}

// A NUL would end a path early.
std::optional<std::string> any_text(const JsonValue& value) {
  auto text = bytes_of(value);
  return text && !text->contains('\0') ? text : std::nullopt;
}

}  // namespace

Result<RecordFields> RecordFields::parse(std::string_view text) {
  if (text.contains('\0')) return fail(EBADMSG, "it holds a NUL byte");
  auto tree = parse_json_tree(text, kNestingMax);
  if (tree && tree->is_object()) return RecordFields(*std::move(tree));
  if (tree) return fail(EBADMSG, "it is not a JSON object");
  switch (tree.error().kind) {
    case JsonFault::Kind::syntax:
      return fail(EBADMSG,
                  fmt::format("it is truncated or malformed at byte {}", tree.error().byte));
    case JsonFault::Kind::number:
      return fail(EBADMSG, "it holds a number that is out of range");
    case JsonFault::Kind::nesting:
      return fail(EBADMSG, fmt::format("it is nested more than {} deep", kNestingMax));
  }
  std::unreachable();
}

const JsonValue* RecordFields::find(std::string_view name, Presence presence) {
  if (!reason_.empty()) return nullptr;
  if (const JsonValue* const found = object_.find(name)) return found;
  if (presence == Presence::needed) refuse(fmt::format("its {} is missing", name));
  return nullptr;
}

std::optional<uint64_t> RecordFields::find_number(std::string_view name, uint64_t minimum,
                                                  uint64_t maximum, Presence presence) {
  const JsonValue* const found = find(name, presence);
  if (found == nullptr) return std::nullopt;
  auto number = whole_number(*found, minimum, maximum);
  if (!number) {
    refuse(fmt::format("its {} is {}, not a whole number from {} to {}", name, brief(*found),
                       minimum, maximum));
  }
  return number;
}

void RecordFields::process(std::string_view name, int& value) {
  if (const auto found = find_number(name, 1, INT_MAX, Presence::needed)) {
    value = static_cast<int>(*found);
  }
}

void RecordFields::processes(std::string_view name, std::vector<int>& values, size_t count_max) {
  const JsonValue* const found = find(name);
  if (found == nullptr) return;
  if (!found->is_array() || found->items.size() > count_max) {
    return refuse(fmt::format("its {} are not a list of at most {} numbers", name, count_max));
  }
  for (const JsonValue& each : found->items) {
    const auto number = whole_number(each, 1, INT_MAX);
    if (!number) return refuse(fmt::format("one of its {} is {}", name, brief(each)));
    values.push_back(static_cast<int>(*number));
  }
}

void RecordFields::flag(std::string_view name, bool& value, Presence presence) {
  const JsonValue* const found = find(name, presence);
  if (found == nullptr) return;
  if (found->kind != JsonValue::Kind::boolean) {
    return refuse(fmt::format("its {} is {}, not true or false", name, brief(*found)));
  }
  value = found->boolean;
}

void RecordFields::text(std::string_view name, std::string& value, Presence presence) {
  const JsonValue* const found = find(name, presence);
  if (found == nullptr) return;
  auto text = any_text(*found);
  if (!text) return refuse(fmt::format("its {} is {}, not a text", name, brief(*found)));
  value = std::move(*text);
}

void RecordFields::texts(std::string_view name, std::vector<std::string>& values,
                         Presence presence) {
  const JsonValue* const found = find(name, presence);
  if (found == nullptr) return;
  if (!found->is_array()) return refuse(fmt::format("its {} are not a list", name));
  for (const JsonValue& each : found->items) {
    auto text = any_text(each);
    if (!text) return refuse(fmt::format("one of its {} is {}", name, brief(each)));
    values.push_back(std::move(*text));
  }
}

void RecordFields::refuse(std::string reason) {
  if (reason_.empty()) reason_ = std::move(reason);
}

Result<void> RecordFields::end() const {
  if (reason_.empty()) return {};
  return fail(EBADMSG, reason_);
}

}  // namespace sluice
