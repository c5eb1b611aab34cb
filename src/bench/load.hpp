// Load: reads or writes blocks of a stack, in this process, with a fixed number of requests in
// flight, and measures it: the generator of `sluice bench stack`.
//
// Each queue has a thread and a ring of its own, with everything it needs allocated before the
// first request. The load runs without a break; each run is the time between two looks at it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/request.hpp"
#include "spec/json_value.hpp"
#include "spec/spec.hpp"

namespace sluice::bench {

enum class LoadKind : uint8_t { read, write, mixed };

// Which blocks, and how many at a time.
struct LoadPlan {
  LoadKind kind = LoadKind::read;  // mixed: half of the requests each, in random order
  bool random = true;              // places; otherwise each queue goes through a part of its own
  uint32_t block_bytes = 4096;     // of a request
  uint16_t depth = 32;             // requests in flight of each queue
  uint16_t queues = 1;
  uint32_t milliseconds = 1000;  // of a run
  uint32_t runs = 5;
};

// One run.
struct LoadRun {
  double requests_per_s = 0;
  double mib_per_s = 0;
  // From the submission of a request to the stack until its memory is back, in microseconds.
  double mean_us = 0;
  double p50_us = 0;
  double p99_us = 0;
  double longest_us = 0;
  // Of this process with all its threads.
  double cpu_us_per_request = 0;
  double cpu_s_per_gib = 0;
};

struct LoadFindings {
  LoadPlan plan;
  uint64_t size_bytes = 0;  // of the stack
  std::vector<LoadRun> runs{};
  uint64_t requests = 0;         // all of them, those of the warm-up included
  uint64_t arena_overflows = 0;  // allocations of requests from the heap; zero is right

  // Of each figure by itself.
  LoadRun median() const;
};

// Opens the stack and measures it, after kWarmUpMilliseconds of the same load. Calls `progress`
// with a sentence for each run. A plan that writes destroys the data of the stack. EINVAL: the
// stack has other blocks than the plan, or is too small for it; EROFS: it cannot be written; the
// errno of the first request that failed; and the errors of opening the stack.
inline constexpr uint32_t kWarmUpMilliseconds = 300;
Result<LoadFindings> run_load(const Spec& spec, const LoadPlan& plan,
                              const std::function<void(const std::string&)>& progress);

// "randwrite", as fio calls it.
std::string pattern_of(const LoadPlan& plan);
std::string load_text(const LoadFindings& found);
JsonValue load_json(const LoadFindings& found);

}  // namespace sluice::bench
