#include "target/life/jobs.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/keep_for_ever.hpp"
#include "core/log.hpp"
#include "target/life/stack_life.hpp"

namespace sluice {

std::chrono::nanoseconds Job::pause_after(std::chrono::nanoseconds step) const {
  const double part = std::clamp(share(), 0.001, 1.0);
  return std::chrono::nanoseconds(
      static_cast<int64_t>(static_cast<double>(step.count()) * (1 - part) / part));
}

// A started job.
class Jobs::Run {
 public:
  Run(Jobs& jobs, Job& job, Ring& ring) : jobs_(jobs), job_(job), life_(ring) {
    job_.finished_ = false;
    job_.told_to_end_ = false;
  }

  void begin() {
    running_.store(true, std::memory_order_release);
    serve(*this);
  }
  void tell_to_end() {
    job_.told_to_end_ = true;
    if (pausing_ != nullptr) life_.request.ring->cancel(*pausing_);
  }
  Job& job() const { return job_; }
  bool running() const { return running_.load(std::memory_order_acquire); }
  Report report() const {
    return {.name = job_.name(),
            .share = job_.share(),
            .steps = steps_.load(std::memory_order_relaxed),
            .running = running(),
            .status = Status::from_errno(error_.load(std::memory_order_relaxed))};
  }

 private:
  static Service serve(Run& run);
  Task begin_step() {
    try {
      return job_.step(life_.request);
    } catch (...) {
      return status_of_exception();
    }
  }

  Jobs& jobs_;
  Job& job_;
  LifeRequest life_;
  Operation* pausing_ = nullptr;
  std::atomic<bool> running_ = false;
  std::atomic<uint64_t> steps_ = 0;
  std::atomic<int> error_ = 0;
};

Service Jobs::Run::serve(Run& run) {
  Job& job = run.job_;
  while (!job.told_to_end_) {
    const auto begun = LifeCall::Clock::now();
    Status status;
    {
      Task step = run.begin_step();
      status = co_await step;
    }
    run.life_.arena.reset();
    run.steps_.fetch_add(1, std::memory_order_relaxed);
    if (!status.ok()) {
      run.error_ = status.error();
      log().warn("job {} has ended: {}", job.name(), std::strerror(status.error()));
      break;
    }
    if (job.finished_) break;
    // Sleeps even if the pause is 0, so that other work of the reactor gets its turn.
    auto pause = run.life_.request.ring->sleep(job.pause_after(LifeCall::Clock::now() - begun));
    run.pausing_ = &pause;
    if (!job.told_to_end_) [[maybe_unused]]
      const Status slept = co_await pause;
    run.pausing_ = nullptr;
  }
  run.running_.store(false, std::memory_order_release);
  run.jobs_.ended();
}

Jobs::Jobs() = default;

Jobs::~Jobs() { assert(runs_.empty() && "jobs are ended before their stack"); }

void Jobs::start(Job& job, Ring& ring) {
  auto run = std::make_shared<Run>(*this, job, ring);
  Run& started = *run;
  {
    const std::scoped_lock guard(mutex_);
    runs_.push_back(std::move(run));
  }
  if (begun_) started.begin();
}

// Also without jobs: a verb may start one later.
Status Jobs::begin(ControlReactor& control) {
  return control.perform([this](Request& request) { return begin_here(request); },
                         LifeCall::Clock::now() + StackLife::kTimeout);
}

Task Jobs::begin_here(Request&) {
  begun_ = true;
  for (const auto& run : runs_) run->begin();
  return kOk;
}

void Jobs::end(ControlReactor& control) {
  const auto deadline = LifeCall::Clock::now() + StackLife::kTimeout;
  const Status ended =
      control.perform([this](Request& request) { return end_here(request); }, deadline);
  std::vector<std::shared_ptr<Run>> runs;
  {
    const std::scoped_lock guard(mutex_);
    runs_.swap(runs);
  }
  if (ended.ok() || runs.empty()) return;
  log().error("the jobs of a stack did not end: {}", std::strerror(ended.error()));
  for (const auto& run : runs) {
    if (run->running()) keep_for_ever(run);
  }
}

Task Jobs::end_here(Request& request) {
  begun_ = false;
  return wait_for_end(request, runs_);
}

// May run while the control thread takes the list, in end().
Task Jobs::end_some(Request& request, std::vector<Job*> jobs) {
  std::vector<std::shared_ptr<Run>> some;
  {
    const std::scoped_lock guard(mutex_);
    std::ranges::copy_if(runs_, std::back_inserter(some), [&](const auto& run) {
      return std::ranges::find(jobs, &run->job()) != jobs.end();
    });
  }
  Task ending = wait_for_end(request, some);
  const Status ended = co_await ending;
  const std::scoped_lock guard(mutex_);
  std::erase_if(runs_, [&](const auto& run) { return std::ranges::find(some, run) != some.end(); });
  co_return ended;
}

Task Jobs::wait_for_end(Request& request, std::vector<std::shared_ptr<Run>> runs) {
  const auto all_ended = [&runs] {
    return std::ranges::none_of(runs, [](const auto& run) { return run->running(); });
  };
  for (const auto& run : runs) run->tell_to_end();
  struct Wait {
    Jobs& jobs;
    Ring& ring;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> coroutine) const {
      jobs.waiting_.emplace_back(coroutine, &ring);
    }
    void await_resume() const {}
  };
  while (!all_ended()) {
    Wait wait{*this, *request.ring};
    co_await wait;
  }
  co_return kOk;
}

std::vector<Job*> Jobs::all() const {
  std::vector<Job*> jobs;
  for (const auto& run : runs_) jobs.push_back(&run->job());
  return jobs;
}

void Jobs::ended() {
  for (const auto& [coroutine, ring] : std::exchange(waiting_, {})) ring->ready().push(coroutine);
}

std::vector<Jobs::Report> Jobs::reports() const {
  const std::scoped_lock guard(mutex_);
  std::vector<Report> found;
  for (const auto& run : runs_) found.push_back(run->report());
  return found;
}

}  // namespace sluice
