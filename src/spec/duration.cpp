#include "spec/duration.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <memory>

namespace sluice {
namespace {

struct Unit {
  std::string_view name;
  double nanoseconds;
};
constexpr Unit kUnits[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3},
                           {"ns", 1},  {"m", 60e9}, {"h", 3600e9}};
constexpr double kLongest = 3600e9 * 24 * 365 * 100;

}  // namespace

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  double number = 0;
  const char* const end = std::to_address(text.end());
  const auto [stop, error] =
      std::from_chars(std::to_address(text.begin()), end, number, std::chars_format::fixed);
  if (error != std::errc() || std::signbit(number)) return std::nullopt;
  const std::string_view unit(stop, end);
  const auto* const known =
      std::ranges::find(kUnits, number == 0 && unit.empty() ? "s" : unit, &Unit::name);
  if (known == std::end(kUnits)) return std::nullopt;
  return std::chrono::nanoseconds(std::llround(std::min(number * known->nanoseconds, kLongest)));
}

}  // namespace sluice
