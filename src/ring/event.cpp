#include "ring/event.hpp"

#include <cassert>

namespace sluice {

Event::~Event() { assert(waiting_.empty() && "an Event outlives those who wait for it"); }

void Event::Wait::await_suspend(std::coroutine_handle<> coroutine) {
  park(coroutine);
  const std::scoped_lock guard(event_.mutex_);
  if (event_.set_) {
    resume_here();
  } else {
    event_.waiting_.push(*this);
  }
}

void Event::set(Ring& here) {
  const std::scoped_lock guard(mutex_);
  set_ = true;
  while (Parked* const first = waiting_.pop()) first->resume(here);
}

void Event::reset() {
  const std::scoped_lock guard(mutex_);
  set_ = false;
}

bool Event::is_set() const {
  const std::scoped_lock guard(mutex_);
  return set_;
}

}  // namespace sluice
