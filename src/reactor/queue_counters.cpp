#include "reactor/queue_counters.hpp"

namespace sluice {

void QueueReport::add(const QueueCounters& counters) {
  QueueReport one;
  for (size_t op = 0; op < kOpCount; ++op) {
    one.op_requests[op] = counters.requests[op].load(std::memory_order_relaxed);
    one.op_bytes[op] = counters.bytes[op].load(std::memory_order_relaxed);
    one.requests += one.op_requests[op];
  }
  one.errors = counters.errors.load(std::memory_order_relaxed);
  one.copied_bytes = counters.copied_bytes.load(std::memory_order_relaxed);
  one.arena_overflows = counters.arena_overflows.load(std::memory_order_relaxed);
  one.in_flight = counters.in_flight.load(std::memory_order_relaxed);
  for (size_t i = 0; i < kLatencyClasses; ++i) one.latency[i] = counters.latency[i].stats();
  add(one);
}

void QueueReport::add(const QueueReport& other) {
  requests += other.requests;
  errors += other.errors;
  copied_bytes += other.copied_bytes;
  arena_overflows += other.arena_overflows;
  in_flight += other.in_flight;
  for (size_t op = 0; op < kOpCount; ++op) {
    op_requests[op] += other.op_requests[op];
    op_bytes[op] += other.op_bytes[op];
  }
  for (size_t i = 0; i < kLatencyClasses; ++i) latency[i].add(other.latency[i]);
  add_risk(other.swap_risk);
}

}  // namespace sluice
