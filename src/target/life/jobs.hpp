// Jobs: the background work of the targets of a stack: resynchronise, promote, scrub.
//
//   class Resync : public Job {
//     Task step(Request& request) override;     moves one region; finish() after the last one
//   };
//   call.jobs->start(resync_, *request.ring);   in Target::start(); its steps begin once the whole
//                                               stack is started
//
// A job is a sequence of steps on the control reactor. Each step has a fresh request and arena, is
// bounded (some megabytes, a few seconds), and keeps no lock, range or buffer beyond its end.
// Between two steps the job pauses, as long as its share requires, and leaves the disk to requests.
// Its completion is never awaited: when told to end, it ends after the current step, and begins
// again from the state on disk.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/task.hpp"
#include "ring/ring.hpp"

namespace sluice {

class ControlReactor;

class Job {
 public:
  // The share of the time, from 0 (excluded) to 1: a job of 0.25 pauses three times as long as its
  // last step took.
  static constexpr double kDefaultShare = 0.5;

  explicit Job(std::string name, double share = kDefaultShare)
      : name_(std::move(name)), share_(share) {}
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job() = default;

  const std::string& name() const { return name_; }
  double share() const { return share_.load(std::memory_order_relaxed); }
  // Any thread.
  void set_share(double share) { share_.store(share, std::memory_order_relaxed); }

 protected:
  friend class Jobs;

  // One step. An error ends the job.
  virtual Task step(Request& request) = 0;
  // The pause after a step that has taken so long: as the share requires.
  virtual std::chrono::nanoseconds pause_after(std::chrono::nanoseconds step) const;
  // Called by the last step; again if the job is stopped and started again.
  void finish() { finished_ = true; }
  // True once the job was told to end. A step that is waiting should then end early.
  bool is_told_to_end() const { return told_to_end_; }

 private:
  const std::string name_;
  std::atomic<double> share_;
  bool finished_ = false;  // this and the next: used by the control reactor only
  bool told_to_end_ = false;
};

class Jobs {
 public:
  // Describes a job that runs, or has ended by itself.
  struct Report {
    std::string name;
    double share = 0;  // of the time, at most
    uint64_t steps = 0;
    bool running = false;
    Status status;  // of its last step
  };

  Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;
  ~Jobs();

  // On the control reactor; `ring` is its ring. `job` outlives end(), and must not be running.
  void start(Job& job, Ring& ring);

  // Begins the started jobs; later ones begin at once. Called from the control path.
  Status begin(ControlReactor& control);
  // Ends all jobs, each after its current step, and removes them. Called from the control path. A
  // step that does not end within StackLife's timeout is abandoned with the reactor.
  void end(ControlReactor& control);
  // The same on the control reactor itself.
  Task begin_here(Request& request);
  Task end_here(Request& request);

  // On the control reactor, for a part of the stack: the started jobs.
  std::vector<Job*> all() const;
  // Ends these of them, each after its current step, and removes them.
  Task end_some(Request& request, std::vector<Job*> jobs);

  // Any thread.
  std::vector<Report> reports() const;

 private:
  class Run;

  Task wait_for_end(Request& request, std::vector<std::shared_ptr<Run>> runs);
  void ended();

  mutable std::mutex mutex_;                // guards the list, but not its items
  std::vector<std::shared_ptr<Run>> runs_;  // in the order of their start
  bool begun_ = false;                      // this and all below: control reactor only
  // Wait for jobs to end.
  std::vector<std::pair<std::coroutine_handle<>, Ring*>> waiting_;
};

}  // namespace sluice
