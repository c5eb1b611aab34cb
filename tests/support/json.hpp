// JSON in tests: as the library's type, which can compare values, and as JsonValue.
#pragma once

#include <nlohmann/json.hpp>

#include "spec/json_value.hpp"

namespace sluice::test {

inline nlohmann::json parsed(const JsonValue& json) { return nlohmann::json::parse(to_text(json)); }

inline JsonValue said(const nlohmann::json& json) {
  return parse_json_tree(json.dump(), kMessageNestingMax).value();
}

}  // namespace sluice::test
