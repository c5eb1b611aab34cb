// How devices, features and targets are shown: as text that scripts of ublk's tool can read, and as
// JSON with everything.
//
// Pure but for bound_processors(), safe on any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "daemon/operations.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::cli {

using Json = nlohmann::ordered_json;
using Processors = std::vector<int>;

// Which processors the thread of each queue may run on now; empty where it is gone.
std::vector<Processors> bound_processors(const DeviceListing& device);

// The lines of `ublk list`, and ours behind them. No line but the second says "pid" or "state", and
// no other than that of queue N says "queue N": scripts look for these words.
std::string device_text(const DeviceListing& device, const std::vector<Processors>& bound,
                        bool verbose);
// What the user opens.
std::string path_of(const DeviceListing& device);
Json device_json(const DeviceListing& device, const std::vector<Processors>& bound);

// `driver`: the features that it has.
std::string features_text(uint64_t driver);
Json features_json(uint64_t driver);

std::string targets_text(std::span<const TargetSyntax> targets);
Json targets_json(std::span<const TargetSyntax> targets);

// Indented, with a newline; bytes that are not UTF-8 are replaced.
std::string written(const Json& json);

}  // namespace sluice::cli
