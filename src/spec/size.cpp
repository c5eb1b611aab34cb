#include "spec/size.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <optional>

#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr std::string_view kDigits = "0123456789";
// The unit letters in order: the first is 2^10 bytes, each next one 2^10 times as much.
constexpr std::string_view kLetters = "kMGTP";
// 10^18 is the largest power of ten whose product with a unit still fits 128 bits with ease.
constexpr size_t kFractionDigitsMax = 18;

using Wide = unsigned __int128;

struct Number {
  uint64_t whole = 0;     // kSizeMax + 1 if larger
  uint64_t fraction = 0;  // in units of 1 / scale
  uint64_t scale = 1;     // a power of ten
};

struct Rounded {
  double amount = 0;  // to a tenth
  char unit = 'K';
};

Rounded rounded(uint64_t bytes);
std::string_view trim(std::string_view text);
std::optional<Number> read_number(std::string_view text);
std::optional<uint64_t> read_unit(std::string_view unit);
std::optional<size_t> letter_index(char letter);
bool is_decimal_unit(std::string_view unit);

}  // namespace

Result<uint64_t> parse_size(std::string_view text, std::string_view where) {
  const std::string_view trimmed = trim(text);
  const auto refuse = [&](int error, std::string_view why) {
    return fail(error, fmt::format("{}{} {}", shown(text), where, why));
  };
  const size_t digits = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::optional<Number> number = read_number(trimmed.substr(0, digits));
  const std::string_view suffix = trimmed.substr(digits);
  if (number && is_decimal_unit(suffix)) {
    return refuse(EINVAL,
                  "could mean powers of 1000 or of 1024: write k, M, G, T or P (or KiB, MiB ...)"
                  " for powers of 1024");
  }
  const std::optional<uint64_t> unit = read_unit(suffix);
  if (!number || !unit) {
    return refuse(EINVAL,
                  "is not a size: write a number with an optional unit k, M, G, T or P, such as"
                  " 64k or 1.5G");
  }
  const Wide fraction = Wide{number->fraction} * *unit;
  if (fraction % number->scale != 0) {
    return refuse(EINVAL, "is not a whole number of bytes: write it with a smaller unit");
  }
  const Wide bytes = Wide{number->whole} * *unit + fraction / number->scale;
  if (bytes > kSizeMax) return refuse(ERANGE, "is too large: sizes end at 8192P less one byte");
  return static_cast<uint64_t>(bytes);
}

std::string format_size(uint64_t bytes) {
  size_t steps = 0;
  while (bytes != 0 && bytes % 1024 == 0 && steps < kLetters.size()) {
    bytes /= 1024;
    ++steps;
  }
  if (steps == 0) return fmt::format("{}", bytes);
  return fmt::format("{}{}", bytes, kLetters[steps - 1]);
}

std::string advise_multiple(uint64_t bytes, uint64_t unit, uint64_t lowest, uint64_t highest) {
  const uint64_t below = bytes / unit * unit;
  const bool fits_below = below >= lowest && below <= highest;
  const bool fits_above = highest >= unit && below <= highest - unit && below + unit >= lowest;
  if (fits_below && fits_above) return fmt::format("give {} or {}", below, below + unit);
  if (!fits_below && !fits_above) return "there is no room for any";
  return fmt::format("give {}", fits_below ? below : below + unit);
}

std::string describe_size(uint64_t bytes) {
  if (bytes == 1) return "1 byte";
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  const Rounded size = rounded(bytes);
  return fmt::format("{} {}iB", size.amount, size.unit);
}

std::string short_size(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{}B", bytes);
  const Rounded size = rounded(bytes);
  return fmt::format("{}{}", size.amount, size.unit);
}

namespace {

// From 1024 bytes on.
Rounded rounded(uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGTPE";
  double amount = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be shown as 1024.0, which is 1 of the next unit.
  while (amount >= 1023.95 && unit + 1 < kUnits.size()) {
    amount /= 1024;
    ++unit;
  }
  return {.amount = std::round(amount * 10) / 10, .unit = kUnits[unit]};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// "12" or "1.5": digits on both sides of the point. Insignificant zeros do not count.
std::optional<Number> read_number(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::string_view fraction = point == std::string_view::npos ? "0" : text.substr(point + 1);
  const auto is_digits = [](std::string_view part) {
    return !part.empty() && part.find_first_not_of(kDigits) == std::string_view::npos;
  };
  if (!is_digits(whole) || !is_digits(fraction)) return std::nullopt;
  fraction = fraction.substr(0, fraction.find_last_not_of('0') + 1);
  if (fraction.size() > kFractionDigitsMax) return std::nullopt;

  Number number;
  for (const char digit : whole) {
    const Wide next = Wide{number.whole} * 10 + static_cast<unsigned>(digit - '0');
    number.whole = static_cast<uint64_t>(std::min(next, Wide{kSizeMax} + 1));
  }
  for (const char digit : fraction) {
    number.fraction = number.fraction * 10 + static_cast<unsigned>(digit - '0');
    number.scale *= 10;
  }
  return number;
}

// The size of one unit in bytes.
std::optional<uint64_t> read_unit(std::string_view unit) {
  if (unit.empty() || unit == "b" || unit == "B") return 1;
  if (unit == "s") return 512;
  const std::optional<size_t> index = letter_index(unit[0]);
  if (!index || (unit.size() != 1 && unit.substr(1) != "iB")) return std::nullopt;
  return uint64_t{1024} << (10 * *index);
}

std::optional<size_t> letter_index(char letter) {
  const char other_case = static_cast<char>(letter ^ 0x20);
  for (size_t index = 0; index < kLetters.size(); ++index) {
    if (letter == kLetters[index] || other_case == kLetters[index]) return index;
  }
  return std::nullopt;
}

bool is_decimal_unit(std::string_view unit) {
  return unit.size() == 2 && (unit[1] == 'B' || unit[1] == 'b') && letter_index(unit[0]);
}

}  // namespace
}  // namespace sluice
