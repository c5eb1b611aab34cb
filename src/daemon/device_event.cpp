#include "daemon/device_event.hpp"

#include <fmt/format.h>

#include <charconv>

#include "daemon/device_name.hpp"
#include "daemon/state_names.hpp"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using Time = std::chrono::sys_time<milliseconds>;

constexpr size_t kNestingMax = 4;
constexpr size_t kKindMax = 32;

bool is_kind(std::string_view word) {
  return !word.empty() && word.size() <= kKindMax &&
         word.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos;
}

// The value of exactly `count` digits.
std::optional<int> digits(std::string_view text, size_t from, size_t count) {
  int number = 0;
  const char* const begin = text.data() + from;
  const auto [stop, error] = std::from_chars(begin, begin + count, number);
  if (error != std::errc() || stop != begin + count || number < 0) return std::nullopt;
  return number;
}

}  // namespace

JsonValue to_json(const DeviceEvent& event) {
  JsonValue json = {{"time", rfc3339(event.time)},
                    {"id", event.id},
                    {"name", event.name},
                    {"kind", event.kind},
                    {"text", event.text}};
  if (!event.target.empty()) json.set("target", event.target);
  return json;
}

std::string event_line(const DeviceEvent& event) {
  DeviceEvent cut = event;
  cut.text.resize(std::min(cut.text.size(), kEventTextMax));
  cut.target.resize(std::min(cut.target.size(), kEventTargetMax));
  return to_text(to_json(cut)) + "\n";
}

std::optional<DeviceEvent> parse_event(std::string_view line) {
  if (line.size() > kEventLineMax) return std::nullopt;
  const auto json = parse_json_tree(line, kNestingMax);
  if (!json || !json->is_object()) return std::nullopt;
  try {
    const auto time = parse_rfc3339(json->at("time").get<std::string>());
    if (!time) return std::nullopt;
    DeviceEvent event{.time = *time,
                      .id = json->at("id").get<uint32_t>(),
                      .name = json->value("name", std::string()),
                      .kind = json->at("kind").get<std::string>(),
                      .text = json->value("text", std::string()),
                      .target = json->value("target", std::string())};
    const bool named = event.name.empty() || check_name(event.name);
    if (event.id > kDeviceIdMax || !named || !is_kind(event.kind)) return std::nullopt;
    return event;
  } catch (const JsonMismatch&) {
    return std::nullopt;
  }
}

std::vector<DeviceEvent> EventLines::add(std::string_view piece) {
  std::vector<DeviceEvent> found;
  while (true) {
    const size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    too_long_ |= line_.size() + part.size() > kEventLineMax;
    if (too_long_) {
      line_.clear();
    } else {
      line_ += part;
    }
    if (end == std::string_view::npos) return found;
    piece.remove_prefix(end + 1);
    if (auto event = parse_event(line_)) found.push_back(std::move(*event));
    line_.clear();
    too_long_ = false;
  }
}

std::string rfc3339(Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss<milliseconds> clock(time - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

std::optional<Time> parse_rfc3339(std::string_view text) {
  constexpr std::string_view kForm = "0000-00-00T00:00:00.000Z";
  if (text.size() != kForm.size()) return std::nullopt;
  for (size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] != '0' && text[i] != kForm[i]) return std::nullopt;
  }
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  const auto millisecond = digits(text, 20, 3);
  if (!year || !month || !day || !hour || !minute || !second || !millisecond) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 59) {
    return std::nullopt;
  }
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + milliseconds(*millisecond);
}

}  // namespace sluice
