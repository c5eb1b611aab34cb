// RecordFields: reads the members of a record from its file, and checks each of them.
//
// Lives while a record is read. The first invalid member is kept as the reason and ends the
// reading: later values are not changed.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "spec/json_value.hpp"

namespace sluice {

// optional: older servers do not write it; if missing, the value does not change.
enum class Presence : uint8_t { needed, optional };

class RecordFields {
 public:
  // EBADMSG: not a JSON object.
  static Result<RecordFields> parse(std::string_view text);

  template <std::unsigned_integral Number>
  void number(std::string_view name, Number& value, uint64_t minimum, uint64_t maximum,
              Presence presence = Presence::needed) {
    if (const auto found = find_number(name, minimum, maximum, presence)) {
      value = static_cast<Number>(*found);
    }
  }
  // Stays nullopt if missing.
  template <std::unsigned_integral Number>
  void number(std::string_view name, std::optional<Number>& value, uint64_t minimum,
              uint64_t maximum) {
    if (const auto found = find_number(name, minimum, maximum, Presence::optional)) {
      value = static_cast<Number>(*found);
    }
  }
  // The number of a process or thread.
  void process(std::string_view name, int& value);
  void processes(std::string_view name, std::vector<int>& values, size_t count_max);
  void flag(std::string_view name, bool& value, Presence presence = Presence::needed);
  void text(std::string_view name, std::string& value, Presence presence = Presence::needed);
  void texts(std::string_view name, std::vector<std::string>& values,
             Presence presence = Presence::needed);
  // Any other member; null if missing, or after an error.
  const JsonValue* find(std::string_view name, Presence presence = Presence::needed);

  // Records an error, unless there is one already.
  void refuse(std::string reason);
  // EBADMSG after an error. The text is only the reason: "its depth is 0, not ...".
  Result<void> end() const;

 private:
  explicit RecordFields(JsonValue object) : object_(std::move(object)) {}
  std::optional<uint64_t> find_number(std::string_view name, uint64_t minimum, uint64_t maximum,
                                      Presence presence);

  JsonValue object_;
  std::string reason_;
};

}  // namespace sluice
