// Formats the stats of running devices, which are the replies of servers to "stat".
//
// Pure functions, safe on any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "spec/json_value.hpp"

namespace sluice::cli {

// A line about the device and a table: a row for each queue and class of requests.
std::string stats_text(const JsonValue& stats);

// The text format of Prometheus, all devices in one.
std::string stats_prometheus(std::span<const JsonValue> devices);

// The rates per second between two stats of a device, up to `time`, in 80 columns; latencies cover
// only the requests in between.
std::string rates_header();
std::string rates_line(std::string_view time, const JsonValue& before, const JsonValue& after);

// A line for each background job, and one for each request in flight, with its path through the
// stack and its age, and lines for its children below it. `inspected` is a server's reply to
// "inspect".
std::string in_flight_text(const JsonValue& inspected);

// 1234567 ns as "1.23ms".
std::string shown_time(uint64_t nanoseconds);

}  // namespace sluice::cli
