// Formats devices, features and targets: as text that scripts for ublk's tool can read, and as JSON
// with all values.
//
// Pure functions, except bound_processors(); safe on any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "daemon/listing.hpp"
#include "spec/json_value.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::cli {

using Json = JsonValue;
using Processors = std::vector<int>;

// The processors that the thread of each queue may run on now; empty if it has ended.
std::vector<Processors> bound_processors(const DeviceListing& device);

// The lines of `ublk list`, then Sluice's own. Only the second line contains "pid" or "state", and
// only that of queue N contains "queue N": scripts search for these words.
std::string device_text(const DeviceListing& device, const std::vector<Processors>& bound,
                        bool verbose);
// The path that users open.
std::string path_of(const DeviceListing& device);
// LIVE, DEAD, ...: the driver's terms.
std::string_view state_of(const DeviceListing& device);
// True if its server has recorded a health other than ok. False without a living server.
bool is_unhealthy(const DeviceListing& device);
uint64_t size_of(const DeviceListing& device);
Json device_json(const DeviceListing& device, const std::vector<Processors>& bound);

// `driver`: the driver's feature bits.
std::string features_text(uint64_t driver);
Json features_json(uint64_t driver);

std::string targets_text(std::span<const TargetSyntax> targets);
Json targets_json(std::span<const TargetSyntax> targets);

// Indented, with a newline; bytes that are not UTF-8 are replaced.
std::string written(const Json& json);

}  // namespace sluice::cli
