// Timed: a coroutine that awaits one operation after the other under one Timeout.
#pragma once

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "core/task.hpp"
#include "ring/timeout.hpp"

namespace sluice::test {

class Timed final {
 public:
  using Make = std::function<Operation(Request&)>;

  Timed(Ring& ring, std::chrono::nanoseconds duration, std::vector<Make> steps)
      : steps_(std::move(steps)), task_(start(ring, duration)) {}
  Timed(Ring& ring, std::chrono::nanoseconds duration, Make step)
      : Timed(ring, duration, std::vector<Make>{std::move(step)}) {}

  bool finished() const { return task_.finished(); }
  // The errno of the first operation that failed; -1 while the coroutine has not ended.
  int error() const { return task_.finished() ? task_.status().error() : -1; }
  // Cancels as an ending server does, not the timeout.
  void cancel(Ring& ring) { ring.cancel(*operation_); }
  uint32_t moved_bytes() const { return moved_bytes_; }

 private:
  Task start(Ring& ring, std::chrono::nanoseconds duration) {
    request_.ring = &ring;
    request_.arena = &arena_;
    request_.ready = &ring.ready();
    return run(request_, duration);
  }

  Task run(Request& request, std::chrono::nanoseconds duration) {
    Timeout timeout(*request.ring, duration);
    for (const Make& make : steps_) {
      auto operation = make(request);
      operation_ = &operation;
      auto limited = timeout.limit(operation);
      const Status status = co_await limited;
      moved_bytes_ += operation.moved_bytes();
      if (!status.ok()) co_return status;
    }
    co_return kOk;
  }

  std::vector<Make> steps_;
  Arena arena_;
  Request request_;
  Operation* operation_ = nullptr;
  uint32_t moved_bytes_ = 0;
  Task task_;  // last: its coroutine uses the rest
};

}  // namespace sluice::test
