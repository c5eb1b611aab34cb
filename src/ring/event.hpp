// Event: a flag that coroutines of several reactors can wait for.
//
//   Event::Wait wait(event_, *request.ring);
//   co_await wait;
//
// Stays set until reset(). Coroutines that wait when it is set continue, even if it is reset before
// they run, so they must check the condition again. The event outlives all calls of set() and
// reset(), and all waiters. Callers pass the ring of the thread on which they run.
#pragma once

#include <coroutine>
#include <mutex>

#include "ring/parked.hpp"

namespace sluice {

class Event {
 public:
  class Wait;

  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event();

  // Resumes all waiters, in order. `here`: the ring of the calling thread.
  void set(Ring& here);
  // Later waits suspend again. Any thread.
  void reset();
  // Any thread; the result may be outdated at once.
  bool is_set() const;

 private:
  mutable std::mutex mutex_;
  bool set_ = false;  // guarded by mutex_, as are all below
  Fifo<Parked> waiting_;
};

class [[nodiscard]] Event::Wait final : private Parked {
 public:
  Wait(Event& event, Ring& ring) : Parked(ring), event_(event) {}

  bool await_ready() const { return event_.is_set(); }
  void await_suspend(std::coroutine_handle<> coroutine);
  // Waits until set(), which may still run on another thread, no longer uses our ring.
  void await_resume() const { const std::scoped_lock guard(event_.mutex_); }

 private:
  friend class Event;

  Event& event_;
};

}  // namespace sluice
