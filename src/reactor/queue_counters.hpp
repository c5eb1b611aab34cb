// The counters of a front end's queue (QueueCounters), and a snapshot of them (QueueReport).
//
//   tag.begun = counters.begin();               a request has arrived
//   counters.count(request);                    once it is decoded
//   counters.end(request, tag.begun, status);   it is answered
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "core/cycle_clock.hpp"
#include "core/request.hpp"
#include "core/status.hpp"
#include "reactor/latency.hpp"

namespace sluice {

// Classes of requests with comparable latencies.
enum class LatencyClass : uint8_t { read, write, other };
inline constexpr size_t kLatencyClasses = 3;

inline LatencyClass latency_class(Op op) {
  if (op == Op::read) return LatencyClass::read;
  return op == Op::write ? LatencyClass::write : LatencyClass::other;
}

// Written by the queue's thread, read by any.
struct QueueCounters {
  static constexpr uint64_t kOutOfSight = 0;

  std::atomic<uint64_t> requests[kOpCount] = {};  // received
  std::atomic<uint64_t> bytes[kOpCount] = {};     // their length
  std::atomic<uint64_t> in_flight = 0;            // received and not yet answered
  std::atomic<uint64_t> errors = 0;               // requests that failed
  std::atomic<uint64_t> copied_bytes = 0;  // for the front end; the ring counts those of targets
  std::atomic<uint64_t> arena_overflows = 0;
  Latency latency[kLatencyClasses];  // from begin() to end()

  // Returns the time, for end().
  uint64_t begin() {
    add(in_flight, 1);
    return cycles();
  }
  void count(const Request& request) {
    const auto op = static_cast<size_t>(request.op);
    add(requests[op], 1);
    add(bytes[op], request.length);
  }
  // The request no longer counts as in flight, and ends with kOutOfSight: either the kernel answers
  // it itself, which the server sees late, or it is not for the stack.
  void lose_sight() { add(in_flight, uint64_t{0} - 1); }
  void end(const Request& request, uint64_t begun, Status status) {
    if (begun != kOutOfSight) {
      latency[static_cast<size_t>(latency_class(request.op))].count(cycles() - begun);
      add(in_flight, uint64_t{0} - 1);
    }
    if (!status.ok()) add(errors, 1);
  }

  static void add(std::atomic<uint64_t>& counter, uint64_t amount) { add_relaxed(counter, amount); }
};

// A running queue, and its thread. A value.
struct QueueReport {
  int thread_id = 0;
  uint64_t requests = 0;  // of all kinds
  uint64_t errors = 0;
  uint64_t copied_bytes = 0;
  uint64_t arena_overflows = 0;
  uint64_t in_flight = 0;
  std::array<uint64_t, kOpCount> op_requests{};
  std::array<uint64_t, kOpCount> op_bytes{};
  std::array<LatencyStats, kLatencyClasses> latency{};
  std::string swap_risk{};  // why a request may wait for memory; empty: none does

  void add(const QueueCounters& counters);
  void add_risk(const std::string& risk) {
    if (swap_risk.empty()) swap_risk = risk;
  }
  // For the sum of several queues.
  void add(const QueueReport& other);
};

}  // namespace sluice
