#include "daemon/handover_desk.hpp"

#include <utility>

namespace sluice {

Result<void> HandoverDesk::request() {
  const std::scoped_lock guard(mutex_);
  if (state_ != State::idle) return fail(EBUSY, "the device is being handed over already");
  state_ = State::requested;
  return {};
}

Result<Handover> HandoverDesk::collect(std::chrono::milliseconds limit) {
  std::unique_lock guard(mutex_);
  if (!changed_.wait_for(guard, limit, [this] { return offered_.has_value(); })) {
    return fail(ETIMEDOUT, "the requests in flight have not ended in time: try again later");
  }
  return *std::exchange(offered_, std::nullopt);
}

Result<void> HandoverDesk::want_back() {
  const std::scoped_lock guard(mutex_);
  if (state_ != State::offered) return fail(EINVAL, "the device has not been handed over");
  state_ = State::wanted_back;
  changed_.notify_all();
  return {};
}

bool HandoverDesk::requested() const {
  const std::scoped_lock guard(mutex_);
  return state_ == State::requested;
}

bool HandoverDesk::busy() const {
  const std::scoped_lock guard(mutex_);
  return state_ != State::idle;
}

void HandoverDesk::offer(Result<Handover> handover) {
  const std::scoped_lock guard(mutex_);
  state_ = State::offered;
  offered_.emplace(std::move(handover));
  changed_.notify_all();
}

bool HandoverDesk::wanted_back(std::chrono::milliseconds limit) {
  std::unique_lock guard(mutex_);
  return changed_.wait_for(guard, limit, [this] { return state_ == State::wanted_back; });
}

void HandoverDesk::close() {
  const std::scoped_lock guard(mutex_);
  state_ = State::idle;
  offered_.reset();
}

}  // namespace sluice
