// The statistics and the health of a device as JSON: the reply to "stat".
//
// Pure functions, safe on any thread.
#pragma once

#include "core/health.hpp"
#include "reactor/queue_counters.hpp"
#include "spec/json_value.hpp"

namespace sluice {

// Statistics of one queue, or of several added up. Times are in nanoseconds. `buckets`: includes
// the histogram of each class of requests, as pairs of an upper limit and the number of requests up
// to it.
JsonValue report_json(const QueueReport& report, bool buckets);

// The state and reason of the stack, and for each target its name, state, reason and numbers. Each
// number has a name, a kind ("counter" or "gauge") and a value.
JsonValue health_json(const StackHealth& health);

}  // namespace sluice
