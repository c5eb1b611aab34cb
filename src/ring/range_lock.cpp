#include "ring/range_lock.hpp"

#include <algorithm>
#include <cassert>
#include <functional>

#include "ring/ring.hpp"

namespace sluice {

RangeLock::~RangeLock() {
  assert(oldest_ == nullptr && none_counted() && "a RangeLock outlives its holders");
}

RangeLock::Count& RangeLock::count_of(const Ring& ring) {
  return counts_[std::hash<const Ring*>()(&ring) / sizeof(Ring) % kCounts];
}

// An exclusive hold announces itself before it looks at the counts, and a shared one counts itself
// before it looks for an exclusive one: at least one of them sees the other. Both need the total
// order of sequentially consistent operations.
bool RangeLock::try_count(Hold& hold) {
  if (hold.mode_ != Mode::shared || exclusive_.load() != 0) return false;
  hold.counted_ = true;
  count_of(hold.ring()).holds.fetch_add(1);
  if (exclusive_.load() == 0) return true;
  uncount(hold);
  return false;
}

// The last counted hold resumes the exclusive holds that wait for it.
void RangeLock::uncount(Hold& hold) {
  hold.counted_ = false;
  count_of(hold.ring()).holds.fetch_sub(1);
  if (exclusive_.load() == 0) return;
  const std::scoped_lock guard(mutex_);
  for (Hold* other = oldest_; other != nullptr; other = other->newer_) {
    if (!other->granted_ && admits(*other)) grant(*other, hold.ring());
  }
}

bool RangeLock::none_counted() const {
  return std::ranges::all_of(counts_, [](const Count& count) { return count.holds.load() == 0; });
}

void RangeLock::Hold::await_suspend(std::coroutine_handle<> coroutine) {
  park(coroutine);
  joined_ = true;
  lock_.join(*this);
}

void RangeLock::join(Hold& hold) {
  if (hold.mode_ == Mode::exclusive) exclusive_.fetch_add(1);
  const std::scoped_lock guard(mutex_);
  hold.older_ = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer_) = &hold;
  newest_ = &hold;
  hold.granted_ = admits(hold);
  if (hold.granted_) hold.resume_here();
}

// Only earlier holds conflict, including those that still wait.
bool RangeLock::admits(const Hold& hold) const {
  if (hold.mode_ == Mode::exclusive && !none_counted()) return false;
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
  if (hold.mode_ == Mode::exclusive) exclusive_.fetch_sub(1);
  const std::scoped_lock guard(mutex_);
  assert(hold.granted_);
  (hold.older_ == nullptr ? oldest_ : hold.older_->newer_) = hold.newer_;
  (hold.newer_ == nullptr ? newest_ : hold.newer_->older_) = hold.older_;
  for (Hold* other = hold.newer_; other != nullptr; other = other->newer_) {
    if (!other->granted_ && other->conflicts(hold) && admits(*other)) grant(*other, hold.ring());
  }
}

void RangeLock::grant(Hold& hold, Ring& here) {
  hold.granted_ = true;
  hold.resume(here);
}

}  // namespace sluice
