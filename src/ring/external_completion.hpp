// ExternalCompletion: waits for work that another thread completes: the callback of a library, an
// offload thread.
//
//   ExternalCompletion reading(state.external);    state of the target on this ring
//   reading.begin();
//   const int refused = rbd_aio_read(...);         its callback calls reading.complete(result)
//   if (refused < 0) reading.complete(refused);
//   const Status status = co_await reading;
//
// Lives in a coroutine frame; the coroutine is resumed by its own ring. After begin() it must be
// awaited: it cannot be cancelled, and even under a Timeout it ends only when the callback has
// come, with the result of the callback. Until then Ring::run() does not end. Ring::abandon() does
// not wait, and is for processes that end.
//
// ExternalCount: counts the external completions of a target under way on one ring. When no more
// begin, detach() awaits drained() before it closes the source of the callbacks. Used by the ring's
// thread only.
#pragma once

#include <atomic>
#include <cassert>
#include <coroutine>
#include <cstdint>

#include "core/status.hpp"
#include "ring/completion.hpp"

namespace sluice {

class Ring;

class ExternalCount {
 public:
  class Drained;

  explicit ExternalCount(Ring& ring) : ring_(ring) {}
  ExternalCount(const ExternalCount&) = delete;
  ExternalCount& operator=(const ExternalCount&) = delete;
  ~ExternalCount() { assert(under_way_ == 0 && "an ExternalCount outlives what it counts"); }

  uint32_t under_way() const { return under_way_; }
  // co_await waits until none is under way. One waiter at a time.
  Drained drained();

 private:
  friend class ExternalCompletion;
  void begin();
  void end();

  Ring& ring_;
  uint32_t under_way_ = 0;
  std::coroutine_handle<> awaits_end_;
};

class [[nodiscard]] ExternalCount::Drained {
 public:
  bool await_ready() const { return count_.under_way_ == 0; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    assert(!count_.awaits_end_);
    count_.awaits_end_ = coroutine;
  }
  void await_resume() const {}

 private:
  friend class ExternalCount;
  explicit Drained(ExternalCount& count) : count_(count) {}
  ExternalCount& count_;
};

inline ExternalCount::Drained ExternalCount::drained() { return Drained(*this); }

class [[nodiscard]] ExternalCompletion final : private Message {
 public:
  static constexpr bool kUnderWay = true;  // before it is awaited; see Timeout::Limited

  explicit ExternalCompletion(ExternalCount& count) : count_(count) {}
  ~ExternalCompletion() { assert(state_ != State::under_way && "what was begun is awaited"); }

  // Call before complete() can be called. The ring's thread.
  void begin();
  // Any thread, once. `result`: a negative errno, or any other value for success. The object may
  // have been destroyed when this returns.
  void complete(int64_t result) noexcept;

  bool await_ready() const { return state_ == State::ended; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    assert(state_ == State::under_way);
    coroutine_ = coroutine;
  }
  Status await_resume() const { return Status::from_result(result_); }
  // The argument of complete(). Valid once it has ended.
  int64_t result() const { return result_; }

 private:
  enum class State : uint8_t { fresh, under_way, ended };

  void run() override;

  ExternalCount& count_;
  State state_ = State::fresh;  // used by the ring's thread only
  std::coroutine_handle<> coroutine_;
  int64_t result_ = 0;
  std::atomic<bool> let_go_ = false;  // the completing thread will not use the object again
};

}  // namespace sluice
