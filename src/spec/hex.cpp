#include "spec/hex.hpp"

namespace sluice {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

}  // namespace

std::string write_hex(std::string_view bytes) {
  std::string digits;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    digits += kHexDigits[value >> 4];
    digits += kHexDigits[value & 15];
  }
  return digits;
}

std::optional<std::string> read_hex(std::string_view digits) {
  const auto digit_value = [](char digit) {
    const size_t value = kHexDigits.find(digit);
    return value == std::string_view::npos ? std::optional<size_t>() : value;
  };
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (size_t index = 0; index < digits.size(); index += 2) {
    const std::optional<size_t> high = digit_value(digits[index]);
    const std::optional<size_t> low = digit_value(digits[index + 1]);
    if (!high || !low) return std::nullopt;
    bytes += static_cast<char>(*high * 16 + *low);
  }
  return bytes;
}

}  // namespace sluice
