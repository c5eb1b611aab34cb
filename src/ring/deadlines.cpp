#include "ring/deadlines.hpp"

#include <algorithm>

#include "ring/ring.hpp"
#include "ring/timeout.hpp"

namespace sluice {
namespace {

__kernel_timespec timespec_of(Deadlines::Clock::time_point time) {
  const auto since = std::chrono::nanoseconds(time.time_since_epoch()).count();
  return {.tv_sec = since / 1'000'000'000, .tv_nsec = since % 1'000'000'000};
}

}  // namespace

void Deadlines::add(Timeout& timeout) {
  Timeout* before = waiting_.last;
  while (before != nullptr && before->deadline_ > timeout.deadline_) before = before->previous_;
  waiting_.insert(timeout, before);
  timeout.list_ = &waiting_;
  if (before == nullptr) arm();
}

void Deadlines::remove(Timeout& timeout) {
  if (timeout.list_ != nullptr) timeout.list_->remove(timeout);
  timeout.list_ = nullptr;
}

void Deadlines::cancel(Timeout& timeout) {
  to_cancel_.insert(timeout, to_cancel_.last);
  timeout.list_ = &to_cancel_;
  cancel_next();
}

void Deadlines::cancel_next() {
  if (canceller_.in_flight || to_cancel_.first == nullptr) return;
  canceller_.in_flight = true;
  ring_.submit_first(canceller_);
}

void Deadlines::arm() {
  if (waiting_.first == nullptr) return;
  const Clock::time_point earliest = waiting_.first->deadline_;
  if (!timer_.in_flight) {
    timer_.in_flight = true;
    armed_for_ = earliest;
    ring_.count_standing();
    ring_.submit_first(timer_);
  } else if (earliest < armed_for_ && !update_.in_flight) {
    update_.in_flight = true;
    ring_.submit_first(update_);
  }
}

// The earliest deadline may have changed while the timer waited for its SQE.
void Deadlines::Timer::prepare(io_uring_sqe& sqe) {
  if (const Timeout* const first = deadlines_.waiting_.first) {
    deadlines_.armed_for_ = first->deadline_;
  }
  time_ = timespec_of(deadlines_.armed_for_);
  io_uring_prep_timeout(&sqe, &time_, 0, IORING_TIMEOUT_ABS);
}

// ETIME means that the time has come, even if our clock disagrees.
void Deadlines::Timer::complete(int32_t result, uint32_t) {
  in_flight = false;
  deadlines_.ring_.end_standing();
  const Clock::time_point now = Clock::now();
  deadlines_.expire(result == -ETIME ? std::max(now, deadlines_.armed_for_) : now);
  deadlines_.arm();
}

// Never sets a later time: if the timer expires meanwhile, `armed_for_` has passed.
void Deadlines::TimerUpdate::prepare(io_uring_sqe& sqe) {
  if (const Timeout* const first = deadlines_.waiting_.first) {
    deadlines_.armed_for_ = std::min(deadlines_.armed_for_, first->deadline_);
  }
  time_ = timespec_of(deadlines_.armed_for_);
  const auto timer = reinterpret_cast<uint64_t>(static_cast<Completion*>(&deadlines_.timer_));
  io_uring_prep_timeout_update(&sqe, &time_, timer, IORING_TIMEOUT_ABS);
}

// ENOENT or EALREADY: the timer has expired, and its completion sets the next one.
void Deadlines::TimerUpdate::complete(int32_t, uint32_t) {
  in_flight = false;
  deadlines_.arm();
}

void Deadlines::expire(Clock::time_point passed) {
  while (waiting_.first != nullptr && waiting_.first->deadline_ <= passed) {
    Timeout& timeout = *waiting_.first;
    remove(timeout);
    timeout.expire();
  }
}

// The operation to be cancelled may have ended meanwhile.
void Deadlines::Canceller::prepare(io_uring_sqe& sqe) {
  Timeout* const timeout = deadlines_.to_cancel_.first;
  if (timeout == nullptr) return io_uring_prep_nop(&sqe);
  deadlines_.remove(*timeout);
  io_uring_prep_cancel(&sqe, timeout->completion_, 0);
}

void Deadlines::Canceller::complete(int32_t, uint32_t) {
  in_flight = false;
  deadlines_.cancel_next();
}

void TimeoutList::insert(Timeout& timeout, Timeout* before) {
  Timeout* const after = before == nullptr ? first : before->next_;
  timeout.previous_ = before;
  timeout.next_ = after;
  (before == nullptr ? first : before->next_) = &timeout;
  (after == nullptr ? last : after->previous_) = &timeout;
}

void TimeoutList::remove(Timeout& timeout) {
  (timeout.previous_ == nullptr ? first : timeout.previous_->next_) = timeout.next_;
  (timeout.next_ == nullptr ? last : timeout.next_->previous_) = timeout.previous_;
}

}  // namespace sluice
