#include "ring/offload.hpp"

#include <fmt/format.h>

#include <cassert>
#include <utility>

#include "core/thread.hpp"

namespace sluice {

Result<std::unique_ptr<Offload>> Offload::create(uint32_t threads) {
  assert(threads != 0);
  std::unique_ptr<Offload> offload(new Offload);
  offload->places_.resize(threads);
  offload->threads_.reserve(threads);
  for (uint32_t i = 0; i < threads; ++i) {
    auto started = start_thread(fmt::format("sluice-work{}", i), [offload = offload.get(), i] {
      offload->work(offload->places_[i]);
    });
    if (!started) return std::unexpected(started.error());
    offload->threads_.push_back(std::move(*started));
  }
  return offload;
}

Offload::~Offload() {
  stop();
  for (std::thread& thread : threads_) thread.join();
}

void Offload::work(Place& place) {
  while (Job* const job = next(place)) {
    const Status status = job->call_(job->work_);
    {
      const std::scoped_lock guard(mutex_);
      place.job = nullptr;  // its name may be destroyed with it
    }
    job->end(status);
  }
}

// Null: no job will come.
Offload::Job* Offload::next(Place& place) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return oldest_ != nullptr || stopped_; });
  if (oldest_ == nullptr) return nullptr;
  Job* const job = oldest_;
  oldest_ = job->newer_;
  place = {.job = job, .since = Clock::now()};
  return job;
}

void Offload::stop() {
  Job* dropped = nullptr;
  {
    const std::scoped_lock guard(mutex_);
    stopped_ = true;
    dropped = std::exchange(oldest_, nullptr);
  }
  changed_.notify_all();
  while (dropped != nullptr) {
    Job* const newer = dropped->newer_;  // a job that has ended may be destroyed
    dropped->end(Status::from_errno(ECANCELED));
    dropped = newer;
  }
}

std::vector<Offload::Running> Offload::running() const {
  const std::scoped_lock guard(mutex_);
  const Clock::time_point now = Clock::now();
  std::vector<Running> all;
  for (const Place& place : places_) {
    if (place.job != nullptr) all.push_back({place.job->name_, now - place.since});
  }
  return all;
}

void Offload::Job::await_suspend(std::coroutine_handle<> coroutine) {
  end_.begin();
  end_.await_suspend(coroutine);
  if (!offload_.add(*this)) end(Status::from_errno(ECANCELED));
}

void Offload::Job::cancel() {
  if (offload_.remove(*this)) end(Status::from_errno(ECANCELED));
}

// False: the Offload has stopped.
bool Offload::add(Job& job) {
  const std::scoped_lock guard(mutex_);
  if (stopped_) return false;
  (oldest_ == nullptr ? oldest_ : newest_->newer_) = &job;
  newest_ = &job;
  changed_.notify_one();
  return true;
}

bool Offload::remove(Job& job) {
  const std::scoped_lock guard(mutex_);
  Job* older = nullptr;
  for (Job* one = oldest_; one != nullptr; older = one, one = one->newer_) {
    if (one != &job) continue;
    (older == nullptr ? oldest_ : older->newer_) = one->newer_;
    if (newest_ == one) newest_ = older;
    return true;
  }
  return false;
}

RingLocal<RingOffload>& RingOffload::all() {
  static RingLocal<RingOffload> everywhere;
  return everywhere;
}

}  // namespace sluice
