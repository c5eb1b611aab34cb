#include "cli/values.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>

#include "daemon/device_name.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

std::string shown_option(const CommandLine& line, std::string_view option) {
  const OptionInfo* const known = line.find(option);
  return known == nullptr ? std::string(option) : known->shown();
}

bool contains(Range range, uint64_t number) {
  return number >= range.minimum && number <= range.maximum;
}

}  // namespace

std::optional<uint64_t> parse_digits(std::string_view text, int base) {
  uint64_t number = 0;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, number, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

Outcome<uint64_t> read_number(const CommandLine& line, std::string_view option, uint64_t fallback,
                              Range range) {
  if (!line.has(option)) return fallback;
  const std::string text = line.text(option);
  const auto number = parse_digits(text);
  if (number && contains(range, *number)) return *number;
  return usage(fmt::format("{} takes a whole number from {} to {}, found {}",
                           shown_option(line, option), range.minimum, range.maximum, shown(text)));
}

Outcome<uint64_t> read_size(const CommandLine& line, std::string_view option, uint64_t fallback,
                            Range range) {
  if (!line.has(option)) return fallback;
  const std::string name = shown_option(line, option);
  const std::string text = line.text(option);
  const auto size = parse_size(text, fmt::format(" for {}", name));
  if (!size) return usage(size.error().text);
  if (contains(range, *size)) return *size;
  return usage(fmt::format("{} takes a size from {} to {}, found {}", name,
                           format_size(range.minimum), format_size(range.maximum), shown(text)));
}

Outcome<bool> read_switch(const CommandLine& line, std::string_view option) {
  const std::string text = line.text(option, "0");
  if (text == "0" || text == "1") return text == "1";
  return usage(fmt::format("{} takes 0 or 1, found {}", shown_option(line, option), shown(text)));
}

Outcome<uint32_t> read_mask(const CommandLine& line, std::string_view option) {
  const std::string text = line.text(option, "0");
  const bool prefixed = text.starts_with("0x") || text.starts_with("0X");
  const auto mask = parse_digits(std::string_view(text).substr(prefixed ? 2 : 0), 16);
  if (mask && *mask <= UINT32_MAX) return static_cast<uint32_t>(*mask);
  return usage(fmt::format("{} takes a hexadecimal number of up to 32 bits such as 0x3, found {}",
                           shown_option(line, option), shown(text)));
}

Outcome<std::optional<uint32_t>> read_id(const CommandLine& line) {
  if (!line.has("number")) return std::nullopt;
  const auto id = read_number(line, "number", 0, {0, kMaxDeviceId});
  if (!id) return std::unexpected(id.error());
  return static_cast<uint32_t>(*id);
}

Outcome<std::vector<int>> parse_processors(std::string_view text) {
  const auto refuse = [text](std::string_view why) {
    return usage(fmt::format("{} is not a list of processors such as 0-3,8: {}", shown(text), why));
  };
  constexpr uint64_t kLastProcessor = CPU_SETSIZE - 1;
  std::string_view rest = text;
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  std::vector<int> processors;
  while (true) {
    const std::string_view item = rest.substr(0, rest.find(','));
    const size_t dash = item.find('-');
    const auto first = parse_digits(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_digits(item.substr(dash + 1));
    if (!first || !last) return refuse(fmt::format("{} is neither N nor N-M", shown(item)));
    if (*first > *last) return refuse(fmt::format("{} is a descending range", shown(item)));
    if (*last > kLastProcessor)
      return refuse(fmt::format("the highest number is {}", kLastProcessor));
    for (uint64_t each = *first; each <= *last; ++each) {
      processors.push_back(static_cast<int>(each));
    }
    if (item.size() == rest.size()) break;
    rest.remove_prefix(item.size() + 1);
  }
  std::ranges::sort(processors);
  const auto doubles = std::ranges::unique(processors);
  processors.erase(doubles.begin(), doubles.end());
  return processors;
}

}  // namespace sluice::cli
