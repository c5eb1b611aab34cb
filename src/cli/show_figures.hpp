// How the figures of running devices are shown. A figure is what a server replies to "stat".
//
// Pure functions, safe on any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace sluice::cli {

// A line about the device and a table: a row for each queue and class of requests.
std::string figures_text(const nlohmann::json& figures);

// The text format of Prometheus, all devices in one.
std::string figures_prometheus(std::span<const nlohmann::json> devices);

// What happened between two figures of a device, per second; the times are of these requests alone.
std::string rates_header();
std::string rates_line(const nlohmann::json& before, const nlohmann::json& after);

// A line for each request in flight, with its way through the stack and its age; lines below it
// where it was divided. `inspected` is what a server replies to "inspect".
std::string in_flight_text(const nlohmann::json& inspected);

// 1234567 ns as "1.23ms".
std::string shown_time(uint64_t nanoseconds);

}  // namespace sluice::cli
