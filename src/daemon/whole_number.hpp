// Numbers that other programs wrote, in names and environment variables.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace sluice {

// Reads a decimal number from 0 that is all of the text; nothing if the text is anything else.
inline std::optional<int> whole_number(std::string_view text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

}  // namespace sluice
