// JsonValue: JSON text as it was written.
//
// A plain tree that owns its bytes. Unlike nlohmann's own it keeps the order and the duplicates of
// an object's members, so that a duplicate can be refused where it stands. Used by json.cpp only;
// never knows what a target is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace sluice {

struct JsonValue {
  enum class Kind : uint8_t { null, boolean, whole_number, other_number, text, array, object };

  explicit JsonValue(Kind which = Kind::null) : kind(which) {}

  Kind kind;
  std::string name;  // where it is a member of an object
  bool boolean = false;
  uint64_t whole_number = 0;  // other_number: negative, with a fraction or exponent, too large
  std::string text;
  std::vector<JsonValue> items;  // of an array, or the members of an object
};

// One JSON document (RFC 8259) and nothing behind it. EINVAL where it is not well formed, not
// UTF-8, or has more than `nesting_max` arrays and objects inside one another.
Result<JsonValue> read_json(std::string_view text, size_t nesting_max);

}  // namespace sluice
