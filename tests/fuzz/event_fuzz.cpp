// Parses any bytes as the file of events: lines that are no events are skipped, and every event
// found survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/device_event.hpp"

namespace {

using sluice::DeviceEvent;

void require(bool holds, const char* what, const std::string& detail) {
  if (holds) return;
  std::fprintf(stderr, "event_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

void check(const DeviceEvent& event) {
  const std::string line = sluice::event_line(event);
  require(line.find('\n') == line.size() - 1, "an event is not one line", line);
  const auto again = sluice::parse_event(std::string_view(line).substr(0, line.size() - 1));
  require(again.has_value(), "a written event is not read", line);
  const bool is_cut =
      event.text.size() > sluice::kEventTextMax || event.target.size() > sluice::kEventTargetMax;
  require(is_cut || *again == event, "an event changes when it is written", line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  sluice::EventLines whole;
  const std::vector<DeviceEvent> events = whole.add(text);
  for (const DeviceEvent& event : events) check(event);
  sluice::EventLines pieces;
  std::vector<DeviceEvent> found;
  for (size_t begin = 0; begin < size; begin += 7) {
    for (DeviceEvent& event : pieces.add(text.substr(begin, 7))) found.push_back(std::move(event));
  }
  require(found == events, "pieces are read as something else", std::string(text));
  return 0;
}
