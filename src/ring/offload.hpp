// Offload: a few threads for calls that block, which no reactor may make: open, lseek for extents,
// a resolver, argon2, rbd_open, zstd.
//
//   auto opening = [&] { return open_image(path); };        any callable that gives a Status
//   Offload::Job job(offload, state.external, "open", opening);
//   const Status opened = co_await job;
//
// Owned by a device, used by all of its reactors, each of which finds it by RingOffload. All
// threads are started before the device is live. A job that finds no free thread waits; jobs are
// served in order. A job lies in the frame of the coroutine that awaits it, so the queue has no
// limit and allocates nothing. A job must not wait for another job.
//
// A job that hangs in a system call cannot be ended: the destructor waits for the running jobs,
// however long that takes. A caller that must not wait checks running() first, and does not destroy
// the object if there are any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "ring/external_completion.hpp"
#include "ring/ring_local.hpp"

namespace sluice {

class Offload {
 public:
  class Job;

  struct Running {
    std::string name;
    std::chrono::nanoseconds age;
  };

  // `threads` is at least 1. EAGAIN, ENOMEM: so many threads cannot be started.
  static Result<std::unique_ptr<Offload>> create(uint32_t threads);
  Offload(const Offload&) = delete;
  Offload& operator=(const Offload&) = delete;
  ~Offload();

  // Jobs that have not begun, and all later ones, end with ECANCELED. Does not wait for running
  // jobs. Any thread.
  void stop();

  // The running jobs and their ages. Any thread.
  std::vector<Running> running() const;

 private:
  using Clock = std::chrono::steady_clock;

  // The current job of one thread.
  struct Place {
    const Job* job = nullptr;
    Clock::time_point since;
  };

  Offload() = default;
  void work(Place& place);
  Job* next(Place& place);
  bool add(Job& job);
  bool remove(Job& job);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  Job* oldest_ = nullptr;  // of the jobs that have not begun
  Job* newest_ = nullptr;
  bool stopped_ = false;
  std::vector<Place> places_;  // one for each thread; never resized later

  std::vector<std::thread> threads_;
};

// Gives the coroutines of one ring access to an Offload. A reactor has one if its Setup names one.
class RingOffload final : public RingResident {
 public:
  // Null: the ring has none.
  static RingOffload* of(const Ring& ring) { return all().of(ring); }
  static void put(Ring& ring, Offload& threads) {
    all().put(ring, std::make_unique<RingOffload>(ring, threads));
  }

  RingOffload(Ring& ring, Offload& threads) : threads(threads), count(ring) {}

  Offload& threads;
  ExternalCount count;

 private:
  static RingLocal<RingOffload>& all();
};

class [[nodiscard]] Offload::Job {
 public:
  // `name`, which running() reports, and `work` outlive the job. `work` runs on another thread; it
  // must not throw or use a ring.
  template <typename Work>
  Job(Offload& offload, ExternalCount& count, const char* name, Work& work)
      : offload_(offload),
        end_(count),
        name_(name),
        work_(&work),
        call_([](void* callable) noexcept -> Status { return (*static_cast<Work*>(callable))(); }) {
  }

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine);
  Status await_resume() const { return end_.await_resume(); }

  // Ends the job with ECANCELED if it has not begun; otherwise does nothing. The ring's thread.
  void cancel();

 private:
  friend class Offload;

  void end(Status status) { end_.complete(-status.error()); }

  Offload& offload_;
  ExternalCompletion end_;
  const char* const name_;
  void* const work_;
  Status (*const call_)(void*) noexcept;
  Job* newer_ = nullptr;  // guarded by the mutex of the Offload
};

}  // namespace sluice
