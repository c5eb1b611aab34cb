// What a device has done and how long it took, as JSON: the reply to "stat".
//
// Pure functions, safe on any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "frontend/queue_counters.hpp"

namespace sluice {

// Of one queue, or of several added up. Times are in nanoseconds. `buckets`: also the histogram of
// each class of requests, as pairs of an upper limit and how many took up to that long.
nlohmann::json report_json(const QueueReport& report, bool buckets);

}  // namespace sluice
