// NamedValues: values by name, whose names and kinds only one front end knows: its own options, or
// its traces in the record. A value.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "spec/spec.hpp"

namespace sluice {

class NamedValues {
 public:
  void set(std::string_view name, OptionValue value) {
    values_.insert_or_assign(std::string(name), std::move(value));
  }
  bool has(std::string_view name) const { return values_.contains(name); }
  // 0, false or empty if the value is missing or of another kind.
  uint64_t number(std::string_view name) const { return get<uint64_t>(name); }
  bool flag(std::string_view name) const { return get<bool>(name); }
  // `fallback` if the value is missing.
  bool flag(std::string_view name, bool fallback) const {
    return has(name) ? flag(name) : fallback;
  }
  std::string text(std::string_view name) const { return get<std::string>(name); }

  const auto& all() const { return values_; }
  bool operator==(const NamedValues&) const = default;

 private:
  template <typename Value>
  Value get(std::string_view name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return {};
    const auto* const value = std::get_if<Value>(&found->second);
    return value == nullptr ? Value() : *value;
  }

  std::map<std::string, OptionValue, std::less<>> values_;
};

}  // namespace sluice
