#include "bench/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <random>
#include <semaphore>

#include "bench/usage.hpp"
#include "core/buffer.hpp"
#include "core/cycle_clock.hpp"
#include "frontend/direct/device.hpp"
#include "spec/size.hpp"
#include "target/stack.hpp"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

// What all threads of a load share: whether it goes on.
class Course {
 public:
  bool goes_on() const { return goes_on_.load(std::memory_order_relaxed); }
  void end() { goes_on_.store(false, std::memory_order_relaxed); }

  // A request has failed: ends the load, and keeps the first failure.
  void fail(Status status, uint64_t offset) {
    end();
    int none = 0;
    if (!error_.compare_exchange_strong(none, status.error())) return;
    offset_ = offset;
    failed_.release();
  }
  // Waits until that time. The errno of the first failure before it, or 0.
  int wait_until(Clock::time_point end) {
    return failed_.try_acquire_until(end) ? error_.load() : 0;
  }
  uint64_t offset() const { return offset_; }  // of the failure

 private:
  std::atomic<bool> goes_on_ = true;
  std::atomic<int> error_ = 0;
  uint64_t offset_ = 0;
  std::binary_semaphore failed_{0};
};

// The places of a queue's requests. Used by the queue's thread only, once the load has begun.
class Places {
 public:
  Places(const LoadPlan& plan, uint16_t queue, uint64_t size_bytes)
      : random_(plan.random), block_bytes_(plan.block_bytes), state_(queue + 1U) {
    const uint64_t all = size_bytes / block_bytes_;
    count_ = random_ ? all : all / plan.queues;
    first_ = random_ ? 0 : count_ * queue;
  }

  // In bytes.
  uint64_t next() {
    return (first_ + (random_ ? any() : std::exchange(next_, (next_ + 1) % count_))) * block_bytes_;
  }

 private:
  // By splitmix64; the high half of the product has the range, without a division.
  uint64_t any() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    using Wide = unsigned __int128;
    return static_cast<uint64_t>((Wide{mixed ^ (mixed >> 31)} * count_) >> 64);
  }

  const bool random_;
  const uint64_t block_bytes_;
  uint64_t first_ = 0;  // in blocks
  uint64_t count_ = 0;
  uint64_t next_ = 0;
  uint64_t state_;
};

// One request in flight, again and again.
class LoadClient final : public direct::Io {
 public:
  LoadClient(Op wanted, std::span<std::byte> own, Places& places, Course& course)
      : places_(places), course_(course) {
    op = wanted;
    memory = own;
    offset = places.next();
  }
  void done(Status status) noexcept override {
    if (!status.ok()) course_.fail(status, offset);
    if (!course_.goes_on()) return;
    offset = places_.next();
    again();
  }

 private:
  Places& places_;
  Course& course_;
};

// A look at the load: what it has done so far.
struct Look {
  Clock::time_point time;
  double cpu_seconds = 0;  // of the process
  LatencyStats latency{};
};

Look look_at(const direct::Device& device, Op op) {
  Look look{.time = Clock::now(), .cpu_seconds = cpu_seconds(RUSAGE_SELF)};
  for (const QueueReport& report : device.reports()) {
    look.latency.add(report.latency[static_cast<size_t>(latency_class(op))]);
  }
  return look;
}

// The requests that ended between two looks. The longest is known as its bucket.
LatencyStats between(const LatencyStats& before, const LatencyStats& after) {
  LatencyStats stats = after;
  stats.count = 0;
  stats.longest = 0;
  for (size_t i = 0; i < stats.counts.size(); ++i) {
    if (i < before.counts.size()) stats.counts[i] -= before.counts[i];
    stats.count += stats.counts[i];
    if (stats.counts[i] != 0) stats.longest = std::min(LatencyBuckets::last_of(i), after.longest);
  }
  stats.sum -= before.sum;
  return stats;
}

LoadRun run_between(const LoadPlan& plan, const Look& before, const Look& after) {
  const LatencyStats latency = between(before.latency, after.latency);
  const double seconds = std::chrono::duration<double>(after.time - before.time).count();
  const double cpu = after.cpu_seconds - before.cpu_seconds;
  const auto requests = static_cast<double>(latency.count);
  const double mib = requests * plan.block_bytes / kMib;
  const auto microseconds = [](double cycles) {
    return cycles * CycleScale::process().nanoseconds_per_cycle() / 1000;
  };
  LoadRun run{.requests_per_s = requests / seconds,
              .mib_per_s = mib / seconds,
              .p50_us = microseconds(static_cast<double>(latency.quantile(0.5))),
              .p99_us = microseconds(static_cast<double>(latency.quantile(0.99))),
              .longest_us = microseconds(static_cast<double>(latency.longest))};
  if (latency.count == 0) return run;
  run.mean_us = microseconds(static_cast<double>(latency.sum) / requests);
  run.cpu_us_per_request = cpu * 1e6 / requests;
  run.cpu_s_per_gib = cpu / (mib / 1024);
  return run;
}

Result<void> check(const Geometry& geometry, const LoadPlan& plan) {
  const uint64_t size = geometry.size_bytes;
  const uint32_t logical = geometry.logical_block_bytes;
  if (plan.op == Op::write && geometry.read_only) {
    return fail(EROFS, "the stack is read-only: it can be measured with read or randread");
  }
  if (plan.block_bytes % logical != 0) {
    return fail(EINVAL,
                fmt::format("requests of {} do not fit the stack, whose logical block is {}",
                            format_size(plan.block_bytes), format_size(logical)));
  }
  if (size / plan.block_bytes < plan.queues) {
    return fail(
        EINVAL,
        fmt::format("the stack is too small to measure: it has {}, and needs {} for "
                    "a request of each queue",
                    describe_size(size), describe_size(uint64_t{plan.block_bytes} * plan.queues)));
  }
  return {};
}

// Bytes that no server takes for zeroes or compresses.
void fill(std::span<std::byte> memory) {
  std::mt19937_64 random(1);  // NOLINT(cert-msc51-cpp): any bytes will do
  for (size_t i = 0; i + sizeof(uint64_t) <= memory.size(); i += sizeof(uint64_t)) {
    const uint64_t value = random();
    std::memcpy(&memory[i], &value, sizeof(value));
  }
}

Error explain(const LoadPlan& plan, int error, uint64_t offset) {
  return {error, fmt::format("a {} of {} at offset {} failed: {}", to_string(plan.op),
                             format_size(plan.block_bytes), offset, std::strerror(error))};
}

}  // namespace

Result<LoadFindings> run_load(const Spec& spec, const LoadPlan& plan,
                              const std::function<void(const std::string&)>& progress) {
  auto stack = Stack::open(spec, plan.op != Op::write);
  if (!stack) return std::unexpected(stack.error());
  if (auto fits = check((*stack)->geometry(), plan); !fits) return std::unexpected(fits.error());
  if (auto started = (*stack)->start(); !started) return std::unexpected(started.error());

  LoadFindings found{.plan = plan, .size_bytes = (*stack)->geometry().size_bytes};
  const Buffer memory(size_t{plan.queues} * plan.depth * plan.block_bytes);
  fill(memory.bytes());
  Course course;
  std::deque<Places> places;
  std::deque<LoadClient> clients;
  // Outlives no client: its end waits for all requests.
  auto device = direct::Device::create(**stack, {.queues = plan.queues, .depth = plan.depth});
  if (!device) return std::unexpected(device.error());
  for (uint16_t queue = 0; queue < plan.queues; ++queue) {
    places.emplace_back(plan, queue, found.size_bytes);
    for (uint16_t i = 0; i < plan.depth; ++i) {
      const size_t at = clients.size() * plan.block_bytes;
      clients.emplace_back(plan.op, memory.bytes().subspan(at, plan.block_bytes), places.back(),
                           course);
    }
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    (*device)->submit(static_cast<uint16_t>(i / plan.depth), clients[i]);
  }

  auto end = Clock::now() + std::chrono::milliseconds(kWarmUpMilliseconds);
  int error = course.wait_until(end);
  Look before = look_at(**device, plan.op);
  for (uint32_t run = 0; run < plan.runs && error == 0; ++run) {
    progress(fmt::format("run {} of {}", run + 1, plan.runs));
    error = course.wait_until(before.time + std::chrono::milliseconds(plan.milliseconds));
    Look after = look_at(**device, plan.op);
    found.runs.push_back(run_between(plan, before, after));
    before = std::move(after);
  }
  course.end();
  for (const QueueReport& report : (*device)->reports()) {
    found.requests += report.requests;
    found.arena_overflows += report.arena_overflows;
  }
  device->reset();
  if (error != 0) return std::unexpected(explain(plan, error, course.offset()));
  return found;
}

}  // namespace sluice::bench
