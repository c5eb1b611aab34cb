#include "ring/range_lock.hpp"

#include <algorithm>
#include <cassert>

#include "ring/ring.hpp"

namespace sluice {

RangeLock::~RangeLock() { assert(oldest_ == nullptr && "a RangeLock outlives its holders"); }

void RangeLock::Hold::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  joined_ = true;
  lock_.join(*this);
}

void RangeLock::join(Hold& hold) {
  const std::scoped_lock guard(mutex_);
  hold.older_ = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer_) = &hold;
  newest_ = &hold;
  hold.granted_ = admits(hold);
  if (hold.granted_) hold.ring_.ready().push(hold.coroutine_);
}

// Only what came earlier is in the way, even if it still waits itself.
bool RangeLock::admits(const Hold& hold) const {
  for (const Hold* other = hold.older_; other != nullptr; other = other->older_) {
    if (hold.conflicts(*other)) return false;
  }
  return true;
}

bool RangeLock::Hold::conflicts(const Hold& other) const {
  if (mode_ == Mode::shared && other.mode_ == Mode::shared) return false;
  return std::max(begin_, other.begin_) < std::min(end_, other.end_);
}

void RangeLock::leave(Hold& hold) {
  const std::scoped_lock guard(mutex_);
  assert(hold.granted_);
  (hold.older_ == nullptr ? oldest_ : hold.older_->newer_) = hold.newer_;
  (hold.newer_ == nullptr ? newest_ : hold.newer_->older_) = hold.older_;
  for (Hold* other = hold.newer_; other != nullptr; other = other->newer_) {
    if (other->granted_ || !other->conflicts(hold) || !admits(*other)) continue;
    other->granted_ = true;
    if (&other->ring_ == &hold.ring_) {
      hold.ring_.ready().push(other->coroutine_);
    } else {
      other->ring_.post(*other);
    }
  }
}

void RangeLock::Hold::run() { ring_.ready().push(coroutine_); }

}  // namespace sluice
