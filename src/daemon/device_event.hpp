// DeviceEvent: an event of a device, as one JSON object on one line.
//
// Plain values and pure functions, safe on any thread. The file of events may have been written by
// any version of Sluice, or cut off by a crash: lines that are no event are skipped.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/events.hpp"
#include "spec/json_value.hpp"

namespace sluice {

// The kinds of events besides those of the engine (core/events.hpp).
inline constexpr std::string_view kAdded = "added";
inline constexpr std::string_view kServerDied = "server_died";
inline constexpr std::string_view kRecovered = "recovered";
inline constexpr std::string_view kUpgraded = "upgraded";
inline constexpr std::string_view kQuiesced = "quiesced";
inline constexpr std::string_view kResized = "resized";
inline constexpr std::string_view kDeleted = "deleted";
inline constexpr std::string_view kKeeperReplaced = "keeper_replaced";
inline constexpr std::string_view kEventsLost = "events_lost";  // too many at once to write

struct DeviceEvent {
  std::chrono::sys_time<std::chrono::milliseconds> time;
  uint32_t id = 0;
  std::string name;  // of the device; empty: it has none
  std::string kind;
  std::string text;
  std::string target;  // empty: the event concerns the whole device

  bool operator==(const DeviceEvent&) const = default;
};

inline constexpr size_t kEventTextMax = 1024;  // bytes; a longer text is cut off
inline constexpr size_t kEventTargetMax = 256;
inline constexpr size_t kEventLineMax = 16 * 1024;  // bytes; a longer line is no event

// time (RFC 3339, UTC, with milliseconds), id, name, kind, text, and target if there is one.
JsonValue to_json(const DeviceEvent& event);
// The same as a line, with the newline.
std::string event_line(const DeviceEvent& event);
// `line` has no newline. Unknown members are ignored. nullopt: it is no event.
std::optional<DeviceEvent> parse_event(std::string_view line);

// Finds the events in a text that comes in pieces.
class EventLines {
 public:
  // The events of all lines that this piece completes.
  std::vector<DeviceEvent> add(std::string_view piece);

 private:
  std::string line_;  // incomplete
  bool too_long_ = false;
};

// "2026-11-29T10:05:20.123Z"
std::string rfc3339(std::chrono::sys_time<std::chrono::milliseconds> time);
std::optional<std::chrono::sys_time<std::chrono::milliseconds>> parse_rfc3339(
    std::string_view text);

}  // namespace sluice
