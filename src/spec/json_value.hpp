// JsonValue: a JSON document as a value, for messages between programs and for JSON specs.
//
// A plain tree that owns its bytes. It keeps the order and the duplicates of an object's members,
// so that an error can name the place of a duplicate; find() returns the last. Only json_value.cpp
// includes the library that reads JSON: no other header takes the compiler as long.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <expected>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace sluice {

// Thrown by at(), get() and value() if a value is missing, or has another kind or range than
// requested: the message of another program has another form. Caught where a message is read.
struct JsonMismatch : std::exception {
  const char* what() const noexcept override { return "JSON of another form"; }
};

struct JsonValue {
  enum class Kind : uint8_t { null, boolean, whole_number, other_number, text, array, object };

  // Two levels of braces are an object: {{"command", "stat"}, {"buckets", true}}.
  JsonValue(std::initializer_list<std::pair<std::string_view, JsonValue>> members);
  JsonValue() = default;
  explicit JsonValue(Kind which) : kind(which) {}
  JsonValue(std::same_as<bool> auto value) : kind(Kind::boolean), boolean(value) {}
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  JsonValue(Number value) {
    if (std::in_range<uint64_t>(value)) {
      set_number(static_cast<uint64_t>(value));
    } else {
      set_negative(static_cast<int64_t>(value));
    }
  }
  JsonValue(double value);  // null if it is infinite or not a number
  JsonValue(std::string value) : kind(Kind::text), text(std::move(value)) {}
  JsonValue(std::string_view value) : JsonValue(std::string(value)) {}
  JsonValue(const char* value) : JsonValue(std::string(value)) {}
  template <typename Item>
  JsonValue(const std::vector<Item>& list) : kind(Kind::array) {
    for (const auto& item : list) items.emplace_back(item);
  }
  static JsonValue array(std::vector<JsonValue> items = {});
  static JsonValue object() { return JsonValue(Kind::object); }

  bool is_object() const { return kind == Kind::object; }
  bool is_array() const { return kind == Kind::array; }
  bool is_text() const { return kind == Kind::text; }
  // For objects; a null value becomes an object.
  void set(std::string_view member, JsonValue value);  // adds or replaces the member
  void update(const JsonValue& other);                 // sets all members of `other`
  void erase(std::string_view member);
  // Null: there is no such member, or this is no object.
  const JsonValue* find(std::string_view member) const;
  bool contains(std::string_view member) const { return find(member) != nullptr; }
  const JsonValue& at(std::string_view member) const;
  // The value of the member, or the fallback without such a member.
  template <typename Value>
  Value value(std::string_view member, Value fallback) const {
    const JsonValue* const found = find(member);
    return found == nullptr ? fallback : found->get<Value>();
  }

  // For arrays; a null value becomes an array.
  void push_back(JsonValue value);
  const JsonValue& at(size_t index) const;

  // Value: bool, an integer type, double, std::string, or a vector of these.
  template <typename Value>
  Value get() const;

  Kind kind = Kind::null;
  std::string name = {};  // of a member of an object
  bool boolean = false;
  uint64_t whole_number = 0;  // other_number: negative, with a fraction or exponent, too large
  std::string text = {};      // also the digits of other_number
  std::vector<JsonValue> items = {};  // of an array, or the members of an object

 private:
  void set_number(uint64_t value);
  void set_negative(int64_t value);
  bool get_flag() const;
  uint64_t get_number(uint64_t most) const;
  int64_t get_signed(int64_t least, int64_t most) const;
  double get_double() const;
  const std::string& get_text() const;
  const std::vector<JsonValue>& get_items() const;
};

struct JsonFault {                                        // the reason why a text is refused
  enum class Kind : uint8_t { syntax, number, nesting };  // number: out of the range of any kind
  Kind kind = Kind::syntax;
  size_t byte = 0;  // position of a syntax error, from 1 on
  std::string text = {};
};

inline constexpr size_t kMessageNestingMax = 64;  // of messages between the programs of Sluice

// Parses one JSON document (RFC 8259) with nothing after it: well formed, UTF-8, without a NUL, and
// with at most `nesting_max` levels of arrays and objects.
std::expected<JsonValue, JsonFault> parse_json_tree(std::string_view text, size_t nesting_max);
// The same. EINVAL, with a sentence for the author of the text.
Result<JsonValue> read_json(std::string_view text, size_t nesting_max);

// Writes the document in one line, or indented by `spaces` per level. Bytes that are not UTF-8
// become U+FFFD.
std::string to_text(const JsonValue& json);
std::string to_indented_text(const JsonValue& json, size_t spaces);

// Arbitrary bytes, such as a path: a text if they are UTF-8, else {"hex": "..."}.
JsonValue bytes_json(const std::string& bytes);
// The reverse; nullopt if `json` has neither form.
std::optional<std::string> bytes_of(const JsonValue& json);

template <typename Value>
Value JsonValue::get() const {
  if constexpr (std::same_as<Value, bool>) {
    return get_flag();
  } else if constexpr (std::unsigned_integral<Value>) {
    return static_cast<Value>(get_number(std::numeric_limits<Value>::max()));
  } else if constexpr (std::signed_integral<Value>) {
    using Limits = std::numeric_limits<Value>;
    return static_cast<Value>(get_signed(Limits::min(), Limits::max()));
  } else if constexpr (std::same_as<Value, double>) {
    return get_double();
  } else if constexpr (std::same_as<Value, std::string>) {
    return get_text();
  } else {
    Value list;
    for (const JsonValue& item : get_items()) {
      list.push_back(item.get<typename Value::value_type>());
    }
    return list;
  }
}

}  // namespace sluice
