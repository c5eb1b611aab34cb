// Timeout: one deadline for a sequence of awaitables, however often each of them continues.
//
//   Timeout timeout(*request.ring, 30s);          it starts to run
//   auto sending = request.ring->send(socket, request.data);
//   auto limited = timeout.limit(sending);
//   const Status sent = co_await limited;         ETIMEDOUT: it was cancelled, and has ended
//
// At the deadline the current awaitable is cancelled; later ones are refused before they begin.
// Both return ETIMEDOUT. An operation that completes nevertheless keeps its result. The coroutine
// is resumed only after the kernel has reported the end (for send_zc: has released the pages, which
// takes a shutdown of a socket whose peer is gone), or after the foreign thread has
// (ExternalCompletion).
//
// Can limit an Operation, or another Completion that is resumed by its last CQE; any awaitable with
// a cancel(), which makes it end with ECANCELED or has no effect; and ExternalCompletion, which has
// no cancel(). The result must be a Status, or a number that is a negative errno on failure.
//
// Lives in a coroutine frame, used by its ring's thread only. Never allocates; it reads the clock
// once and links itself into a list.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>

#include "core/status.hpp"
#include "ring/ring.hpp"

namespace sluice {

class Timeout {
 public:
  template <typename Awaitable>
  class Limited;

  static constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);

  // `duration` is not negative; it is limited to kLongest, and counts from `begin`.
  Timeout(Ring& ring, std::chrono::nanoseconds duration,
          Deadlines::Clock::time_point begin = Deadlines::Clock::now())
      : ring_(ring), deadline_(begin + std::min(duration, kLongest)) {
    ring_.deadlines().add(*this);
  }
  Timeout(const Timeout&) = delete;
  Timeout& operator=(const Timeout&) = delete;
  ~Timeout() {
    assert(cancel_ == nullptr && "what is limited ends before its Timeout");
    ring_.deadlines().remove(*this);
  }

  // True if the ring has seen that the deadline has passed.
  bool expired() const { return expired_; }

  // One awaitable at a time. It and the Timeout outlive the wait.
  template <typename Awaitable>
  Limited<Awaitable> limit(Awaitable& awaitable) {
    return Limited<Awaitable>(*this, awaitable);
  }

 private:
  friend class Deadlines;
  friend struct TimeoutList;

  template <typename Awaitable>
  void watch(Awaitable& awaitable);
  void forget();
  void expire() {
    expired_ = true;
    if (cancel_ != nullptr) cancel_(*this);
  }
  void cancel_completion() {
    if (!ring_.cancel_waiting(*completion_)) ring_.deadlines().cancel(*this);
  }

  Ring& ring_;
  const Deadlines::Clock::time_point deadline_;
  bool expired_ = false;

  // The current awaitable.
  void (*cancel_)(Timeout&) = nullptr;
  Completion* completion_ = nullptr;
  void* other_ = nullptr;

  // The list of Deadlines that contains this, if any, and the links in it.
  TimeoutList* list_ = nullptr;
  Timeout* previous_ = nullptr;
  Timeout* next_ = nullptr;
};

template <typename Awaitable>
class [[nodiscard]] Timeout::Limited {
 public:
  bool await_ready() {
    refused_ = !kUnderWay && timeout_.expired();
    return refused_ || awaitable_.await_ready();
  }
  void await_suspend(std::coroutine_handle<> coroutine) {
    timeout_.watch(awaitable_);
    awaitable_.await_suspend(coroutine);
  }
  auto await_resume() -> decltype(std::declval<Awaitable&>().await_resume()) {
    timeout_.forget();
    if (refused_) return result(-ETIMEDOUT, decltype(awaitable_.await_resume()){});
    const auto ended = awaitable_.await_resume();
    const bool cut = timeout_.expired() && ended == result(-ECANCELED, ended);
    return cut ? result(-ETIMEDOUT, ended) : ended;
  }

 private:
  friend class Timeout;

  // True if the operation begins before it is awaited, so that its end must be awaited in any case.
  static constexpr bool kUnderWay = requires { Awaitable::kUnderWay; };

  Limited(Timeout& timeout, Awaitable& awaitable) : timeout_(timeout), awaitable_(awaitable) {}
  static Status result(int negative_errno, Status) { return Status::from_result(negative_errno); }
  static int32_t result(int negative_errno, int32_t) { return negative_errno; }

  Timeout& timeout_;
  Awaitable& awaitable_;
  bool refused_ = false;
};

template <typename Awaitable>
void Timeout::watch(Awaitable& awaitable) {
  assert(cancel_ == nullptr && "a Timeout limits one awaitable at a time");
  if constexpr (std::derived_from<Awaitable, Completion>) {
    completion_ = &awaitable;
    cancel_ = [](Timeout& timeout) { timeout.cancel_completion(); };
  } else if constexpr (requires { awaitable.cancel(); }) {
    other_ = &awaitable;
    cancel_ = [](Timeout& timeout) { static_cast<Awaitable*>(timeout.other_)->cancel(); };
  } else {
    static_assert(requires { Awaitable::kUnderWay; }, "it cannot be cancelled");
  }
}

// The awaitable has ended: a cancellation that still waits in the list is dropped.
inline void Timeout::forget() {
  cancel_ = nullptr;
  if (expired_) ring_.deadlines().remove(*this);
}

}  // namespace sluice
