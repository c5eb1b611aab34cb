#include "ring/acceptor.hpp"

#include <sys/socket.h>

#include <cassert>
#include <utility>

#include "ring/ring.hpp"

namespace sluice {

Acceptor::~Acceptor() { assert(!in_flight_ && next_ == nullptr && "an Acceptor is stopped first"); }

bool Acceptor::Next::await_ready() {
  assert(acceptor_.next_ == nullptr && "one asks at a time");
  acceptor_.next_ = this;
  acceptor_.give();
  if (result_ >= 0) acceptor_.arm();
  return acceptor_.next_ == nullptr;
}

void Acceptor::Next::await_suspend(std::coroutine_handle<> coroutine) { coroutine_ = coroutine; }

void Acceptor::Next::cancel() {
  if (acceptor_.next_ != this) return;
  acceptor_.error_ = -ECANCELED;
  acceptor_.give();
}

// Accepted connections are handed out before the error that followed them.
void Acceptor::give() {
  if (next_ == nullptr || (accepted_.empty() && error_ == 0)) return;
  Next& next = *std::exchange(next_, nullptr);
  if (!accepted_.empty()) {
    next.result_ = accepted_.front().release();
    accepted_.pop_front();
  } else {
    next.result_ = std::exchange(error_, 0);
  }
  if (next.coroutine_) ring_.ready().push(next.coroutine_);
}

void Acceptor::arm() {
  if (in_flight_ || stop_ != nullptr || accepted_.size() >= most_) return;
  in_flight_ = true;
  ring_.submit(*this);
}

void Acceptor::prepare(io_uring_sqe& sqe) {
  if (multishot_) {
    io_uring_prep_multishot_accept(&sqe, listener_.number, nullptr, nullptr, SOCK_CLOEXEC);
  } else {
    io_uring_prep_accept(&sqe, listener_.number, nullptr, nullptr, SOCK_CLOEXEC);
  }
  if (listener_.registered) sqe.flags |= IOSQE_FIXED_FILE;
}

void Acceptor::complete(int32_t result, uint32_t flags) {
  in_flight_ = (flags & IORING_CQE_F_MORE) != 0;
  take(result);
  const bool failed = error_ != 0;
  give();
  if (in_flight_) {
    if (accepted_.size() < most_ || cancelling_ || stop_ != nullptr) return;
    cancelling_ = true;
    ring_.cancel(*this);
    return;
  }
  cancelling_ = false;
  if (stop_ != nullptr) {
    ring_.ready().push(std::exchange(stop_, nullptr)->coroutine_);
  } else if (!failed) {
    arm();
  }
}

void Acceptor::take(int32_t result) {
  if (result >= 0) {
    accepted_.emplace_back(result);
    if (stop_ != nullptr && !stop_->keeps_) accepted_.clear();
  } else if (result == -EINVAL && multishot_) {
    multishot_ = false;  // an older kernel; any other cause will show again
  } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR) {
    error_ = result;
  }
}

std::optional<Descriptor> Acceptor::left() {
  if (accepted_.empty()) return std::nullopt;
  Descriptor socket = std::move(accepted_.front());
  accepted_.pop_front();
  return socket;
}

void Acceptor::interrupt() {
  if (next_ != nullptr) next_->cancel();
}

bool Acceptor::Stop::await_ready() {
  if (!keeps_) acceptor_.accepted_.clear();
  acceptor_.interrupt();
  acceptor_.error_ = 0;
  return !acceptor_.in_flight_;
}

// If the submission still waits for an SQE, it ends inside cancel().
void Acceptor::Stop::await_suspend(std::coroutine_handle<> coroutine) {
  assert(acceptor_.stop_ == nullptr);
  coroutine_ = coroutine;
  acceptor_.stop_ = this;
  if (!acceptor_.cancelling_) acceptor_.ring_.cancel(acceptor_);
}

}  // namespace sluice
