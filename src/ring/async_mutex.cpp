#include "ring/async_mutex.hpp"

#include <cassert>

namespace sluice {

AsyncMutex::~AsyncMutex() { assert(!held_ && "an AsyncMutex outlives its holders"); }

bool AsyncMutex::try_take() {
  const std::scoped_lock guard(mutex_);
  if (held_) return false;
  held_ = true;
  return true;
}

// It may have become free since try_take().
void AsyncMutex::join(Hold& hold) {
  const std::scoped_lock guard(mutex_);
  if (held_) {
    waiting_.push(hold);
  } else {
    held_ = true;
    hold.resume_here();
  }
}

// Hands the mutex to the next waiter without releasing it, so that no other coroutine takes it.
void AsyncMutex::leave(Ring& here) {
  const std::scoped_lock guard(mutex_);
  assert(held_);
  Parked* const next = waiting_.pop();
  held_ = next != nullptr;
  if (next != nullptr) next->resume(here);
}

}  // namespace sluice
