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
  void fail(Status status, Op op, uint64_t offset) {
    end();
    int none = 0;
    if (!error_.compare_exchange_strong(none, status.error())) return;
    op_ = op;
    offset_ = offset;
    failed_.release();
  }
  // Waits until that time. The errno of the first failure before it, or 0.
  int wait_until(Clock::time_point end) {
    return failed_.try_acquire_until(end) ? error_.load() : 0;
  }
  Op op() const { return op_; }  // this and the next: of the failure
  uint64_t offset() const { return offset_; }

 private:
  std::atomic<bool> goes_on_ = true;
  std::atomic<int> error_ = 0;
  Op op_ = Op::read;
  uint64_t offset_ = 0;
  std::binary_semaphore failed_{0};
};

// What a queue's requests do, and where. Used by the queue's thread only, once the load has begun.
class Choice {
 public:
  Choice(const LoadPlan& plan, uint16_t queue, uint64_t size_bytes)
      : kind_(plan.kind), random_(plan.random), block_bytes_(plan.block_bytes), state_(queue + 1U) {
    const uint64_t all = size_bytes / block_bytes_;
    count_ = random_ ? all : all / plan.queues;
    first_ = random_ ? 0 : count_ * queue;
  }

  // Sets operation and offset.
  void next(direct::Io& io) {
    io.offset = place() * block_bytes_;
    io.op = kind_ == LoadKind::read || (kind_ == LoadKind::mixed && number() % 2 == 0) ? Op::read
                                                                                       : Op::write;
  }

 private:
  uint64_t place() {
    if (!random_) return first_ + std::exchange(next_, (next_ + 1) % count_);
    // The high half of the product has the range, without a division.
    using Wide = unsigned __int128;
    return static_cast<uint64_t>((Wide{number()} * count_) >> 64);
  }
  // By splitmix64.
  uint64_t number() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  const LoadKind kind_;
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
  LoadClient(std::span<std::byte> own, Choice& choice, Course& course)
      : choice_(choice), course_(course) {
    memory = own;
    choice.next(*this);
  }
  void done(Status status) noexcept override {
    if (!status.ok()) course_.fail(status, op, offset);
    if (!course_.goes_on()) return;
    choice_.next(*this);
    again();
  }

 private:
  Choice& choice_;
  Course& course_;
};

// A look at the load: what it has done so far.
struct Look {
  Clock::time_point time;
  double cpu_seconds = 0;  // of the process
  LatencyStats latency{};
};

Look look_at(const direct::Device& device) {
  Look look{.time = Clock::now(), .cpu_seconds = cpu_seconds(RUSAGE_SELF)};
  for (const QueueReport& report : device.reports()) {
    for (const Op op : {Op::read, Op::write}) {
      look.latency.add(report.latency[static_cast<size_t>(latency_class(op))]);
    }
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
  if (plan.kind != LoadKind::read && geometry.read_only) {
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

Error explain(const LoadPlan& plan, int error, const Course& course) {
  return {error, fmt::format("a {} of {} at offset {} failed: {}", to_string(course.op()),
                             format_size(plan.block_bytes), course.offset(), std::strerror(error))};
}

}  // namespace

Result<LoadFindings> run_load(const Spec& spec, const LoadPlan& plan,
                              const std::function<void(const std::string&)>& progress) {
  auto stack = Stack::open(spec, plan.kind == LoadKind::read);
  if (!stack) return std::unexpected(stack.error());
  if (auto fits = check((*stack)->geometry(), plan); !fits) return std::unexpected(fits.error());
  if (auto started = (*stack)->start(); !started) return std::unexpected(started.error());

  LoadFindings found{.plan = plan, .size_bytes = (*stack)->geometry().size_bytes};
  const Buffer memory(size_t{plan.queues} * plan.depth * plan.block_bytes);
  fill(memory.bytes());
  Course course;
  std::deque<Choice> choices;
  std::deque<LoadClient> clients;
  // Outlives no client: its end waits for all requests.
  auto device = direct::Device::create(**stack, {.queues = plan.queues, .depth = plan.depth});
  if (!device) return std::unexpected(device.error());
  for (uint16_t queue = 0; queue < plan.queues; ++queue) {
    choices.emplace_back(plan, queue, found.size_bytes);
    for (uint16_t i = 0; i < plan.depth; ++i) {
      const size_t at = clients.size() * plan.block_bytes;
      clients.emplace_back(memory.bytes().subspan(at, plan.block_bytes), choices.back(), course);
    }
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    (*device)->submit(static_cast<uint16_t>(i / plan.depth), clients[i]);
  }

  auto end = Clock::now() + std::chrono::milliseconds(kWarmUpMilliseconds);
  int error = course.wait_until(end);
  Look before = look_at(**device);
  for (uint32_t run = 0; run < plan.runs && error == 0; ++run) {
    progress(fmt::format("run {} of {}", run + 1, plan.runs));
    error = course.wait_until(before.time + std::chrono::milliseconds(plan.milliseconds));
    Look after = look_at(**device);
    found.runs.push_back(run_between(plan, before, after));
    before = std::move(after);
  }
  course.end();
  for (const QueueReport& report : (*device)->reports()) {
    found.requests += report.requests;
    found.arena_overflows += report.arena_overflows;
  }
  device->reset();
  if (error != 0) return std::unexpected(explain(plan, error, course));
  return found;
}

}  // namespace sluice::bench
