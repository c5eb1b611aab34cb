// Task: the coroutine in which one target serves one request. It starts immediately, runs until its
// first wait, and ends with a Status.
//
// A coroutine that returns Task is a member function whose first parameter is the Request&, e.g.
//
//   Task Linear::do_submit(Request& request);
//
// Its frame is in the request's arena. Its parent is resumed through the request's ready list,
// never from inside the child. A layer that only forwards needs no coroutine: it returns the
// child's Task. A target that has its result immediately returns a Status.
//
// The owner keeps a Task until it has finished: a parent never returns before its children have.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <utility>

#include "core/arena.hpp"
#include "core/status.hpp"
#include "core/tracked_request.hpp"

namespace sluice {

// A waiting parent, its pending children, and the first error; a refusal hides no failure.
struct Waiter {
  uint32_t pending = 0;
  Status first_error;
  std::coroutine_handle<> parent;

  void record(Status status) {
    if (first_error.ok() || (first_error.refused() && status.failed())) first_error = status;
  }
};

class [[nodiscard]] Task {
 public:
  class promise_type;

  // A finished task.
  Task(Status status) : status_(status) {}  // NOLINT(google-explicit-constructor)
  Task(Task&& other) noexcept
      : frame_(std::exchange(other.frame_, nullptr)), status_(other.status_) {}
  Task& operator=(Task&&) = delete;
  ~Task();

  bool finished() const;
  // Call it only once the task has finished.
  Status status() const;

  auto operator co_await() noexcept;

 private:
  friend class Gather;
  using Frame = std::coroutine_handle<promise_type>;

  explicit Task(Frame frame) : frame_(frame) {}
  void notify(Waiter& waiter);

  Frame frame_ = nullptr;
  Status status_;
};

class Task::promise_type {
 public:
  template <typename Self, typename... Rest>
  explicit promise_type(Self&, Request& request, Rest&...) : tracked_(request) {}

  template <typename Self, typename... Rest>
  static void* operator new(size_t bytes, Self&, Request& request, Rest&...) noexcept {
    // The delete operator needs the arena: its pointer is kept in front of the frame.
    void* place = request.arena->allocate(bytes + Arena::kAlignment);
    *static_cast<Arena**>(place) = request.arena;
    return static_cast<std::byte*>(place) + Arena::kAlignment;
  }
  static void operator delete(void* frame, size_t bytes) noexcept {
    void* place = static_cast<std::byte*>(frame) - Arena::kAlignment;
    (*static_cast<Arena**>(place))->release(place, bytes + Arena::kAlignment);
  }
  static Task get_return_object_on_allocation_failure() noexcept { std::terminate(); }

  Task get_return_object() { return Task(Frame::from_promise(*this)); }
  std::suspend_never initial_suspend() noexcept { return {}; }
  std::suspend_always final_suspend() noexcept { return {}; }
  void return_value(Status status) noexcept {
    status_ = status;
    finished_ = true;
    tracked_.end();
    // The analyzer does not see that a promise is constructed.
    if (waiter_ == nullptr) return;  // NOLINT(clang-analyzer-core.UndefinedBinaryOperatorResult)
    waiter_->record(status);
    // Without a parent, all children have finished before the parent waits.
    if (--waiter_->pending == 0 && waiter_->parent) tracked_.ready().push(waiter_->parent);
  }
  void unhandled_exception() noexcept { return_value(status_of_exception()); }

 private:
  friend class Task;

  TrackedRequest tracked_;
  Waiter* waiter_ = nullptr;
  Status status_;
  bool finished_ = false;
};

inline Task::~Task() {
  if (!frame_) return;
  assert(frame_.promise().finished_ && "a parent waits for its children");
  frame_.destroy();
}

inline bool Task::finished() const { return !frame_ || frame_.promise().finished_; }

inline Status Task::status() const { return frame_ ? frame_.promise().status_ : status_; }

inline void Task::notify(Waiter& waiter) {
  ++waiter.pending;
  frame_.promise().waiter_ = &waiter;
}

inline auto Task::operator co_await() noexcept {
  struct Awaiter {
    Task& task;
    Waiter waiter;

    bool await_ready() const noexcept { return task.finished(); }
    void await_suspend(std::coroutine_handle<> parent) noexcept {
      waiter.parent = parent;
      task.notify(waiter);
    }
    Status await_resume() const noexcept { return task.status(); }
  };
  return Awaiter{*this, {}};
}

// Service: a coroutine without a parent, such as the endless loop of a tag. Its frame is on the
// heap; it starts immediately and frees itself at its end.
struct Service {
  struct promise_type {
    Service get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

}  // namespace sluice
