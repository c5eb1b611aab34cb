#include "bench/contest.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <semaphore>
#include <thread>
#include <utility>

#include "core/thread.hpp"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBatchesBetweenLooks = 16;  // batches per read of the clock

// Binds the thread to one processor for its lifetime.
class OnProcessor {
 public:
  static Result<OnProcessor> bind(int processor) {
    OnProcessor bound;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(processor), &one);
    int error = pthread_getaffinity_np(pthread_self(), sizeof(bound.before_), &bound.before_);
    if (error == 0) error = pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
    bound.bound_ = error == 0;
    if (bound.bound_) return bound;
    return fail(error,
                fmt::format("cannot run on processor {}: {}", processor, std::strerror(error)));
  }
  OnProcessor(OnProcessor&& other) noexcept
      : before_(other.before_), bound_(std::exchange(other.bound_, false)) {}
  OnProcessor& operator=(OnProcessor&&) = delete;
  ~OnProcessor() {
    if (bound_) pthread_setaffinity_np(pthread_self(), sizeof(before_), &before_);
  }

 private:
  OnProcessor() = default;

  cpu_set_t before_{};
  bool bound_ = false;
};

// A second, sleeping thread: file lookups in the kernel are cheaper in a process with one thread.
class Sleeper {
 public:
  Sleeper() = default;
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  ~Sleeper() {
    end_.release();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start() {
    auto thread = start_thread("sluice-sleeper", [this] { end_.acquire(); });
    if (!thread) return std::unexpected(thread.error());
    thread_ = std::move(*thread);
    return {};
  }

 private:
  std::binary_semaphore end_{0};
  std::thread thread_;
};

Result<void> run_once(const ColumnType& type, uint32_t depth, const Plan& plan, Cell& cell) {
  auto made = type.make(plan.pages, depth);
  if (!made) return std::unexpected(made.error());
  Column& column = **made;
  const auto wrong = [&] {
    return fail(
        EIO, fmt::format("{} at depth {} did not move {} bytes each", type.title, depth, kIoBytes));
  };
  if (!column.run_batch()) return wrong();  // not counted: warm-up
  const Counts before = column.counts();
  const auto begun = Clock::now();
  const auto end = begun + std::chrono::milliseconds(plan.milliseconds);
  uint64_t requests = 0;
  Clock::time_point now;
  do {
    for (int i = 0; i < kBatchesBetweenLooks; ++i) {
      if (!column.run_batch()) return wrong();
    }
    requests += uint64_t{kBatchesBetweenLooks} * depth;
    now = Clock::now();
  } while (now < end);
  cell.rates.push_back(static_cast<double>(requests) /
                       std::chrono::duration<double>(now - begun).count());
  cell.requests += requests;
  cell.counts += column.counts() - before;
  return {};
}

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
  sqes += other.sqes;
  cqes += other.cqes;
  enters += other.enters;
  other_calls += other.other_calls;
  copied_bytes += other.copied_bytes;
  return *this;
}

Counts Counts::operator-(const Counts& other) const {
  return {.sqes = sqes - other.sqes,
          .cqes = cqes - other.cqes,
          .enters = enters - other.enters,
          .other_calls = other_calls - other.other_calls,
          .copied_bytes = copied_bytes - other.copied_bytes};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Cell::spread() const {
  const auto [lowest, highest] = std::ranges::minmax(rates);
  return (highest - lowest) / median();
}

const Cell* Findings::find(const ColumnType& column, uint32_t depth) const {
  const auto at = std::ranges::find(plan.depths, depth);
  const auto in = std::ranges::find(columns, &column);
  if (at == plan.depths.end() || in == columns.end()) return nullptr;
  return &cells[static_cast<size_t>(at - plan.depths.begin())]
               [static_cast<size_t>(in - columns.begin())];
}

// Run i of every column comes before run i + 1 of any, and each round begins with another column.
Result<Findings> run_contest(const Plan& plan, std::span<const ColumnType* const> columns,
                             const std::function<void(const std::string&)>& progress) {
  const auto bound = OnProcessor::bind(plan.processor);
  if (!bound) return std::unexpected(bound.error());
  Sleeper sleeper;
  if (auto started = sleeper.start(); !started) return std::unexpected(started.error());
  Findings found{.plan = plan, .columns = {columns.begin(), columns.end()}, .cells = {}};
  found.cells.resize(plan.depths.size(), std::vector<Cell>(columns.size()));
  for (uint32_t run = 0; run < plan.runs; ++run) {
    for (size_t row = 0; row < plan.depths.size(); ++row) {
      progress(fmt::format("run {} of {}, depth {}", run + 1, plan.runs, plan.depths[row]));
      for (size_t i = 0; i < columns.size(); ++i) {
        const size_t turn = (i + run) % columns.size();
        auto done = run_once(*columns[turn], plan.depths[row], plan, found.cells[row][turn]);
        if (!done) return std::unexpected(done.error());
      }
    }
  }
  return found;
}

}  // namespace sluice::bench
