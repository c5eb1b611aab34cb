// Steps: targets whose coroutines wait until the test opens their gate, in any order. No ring.
#pragma once

#include <string>
#include <vector>

#include "core/gather.hpp"
#include "core/task.hpp"

namespace sluice::test {

// An awaitable that the test completes.
class Gate {
 public:
  bool await_ready() const { return open_; }
  void await_suspend(std::coroutine_handle<> coroutine) { coroutine_ = coroutine; }
  Status await_resume() const { return status_; }

  // Ends the wait; the waiting coroutine resumes when `ready` runs.
  void open(ReadyList& ready, Status status = kOk) {
    open_ = true;
    status_ = status;
    if (coroutine_) ready.push(coroutine_);
  }

 private:
  bool open_ = false;
  Status status_;
  std::coroutine_handle<> coroutine_;
};

// A target of one step: waits for its gate.
class Step {
 public:
  Task submit(Request& request) {
    ++started;
    (void)request;
    const Status status = co_await gate;
    ++ended;
    co_return status;
  }

  Gate gate;
  int started = 0;
  int ended = 0;
};

// A target that waits for all its members at the same time.
class Fan {
 public:
  explicit Fan(size_t members) : members(members) {}

  Task submit(Request& request) {
    Gather children(request, members.size());
    for (Step& member : members) children.add(member.submit(request));
    const Status status = co_await children;
    ended = true;
    co_return status;
  }

  std::vector<Step> members;
  bool ended = false;
};

// The parts of a tag: an arena and a ready list, and a request that refers to them.
struct StepTag {
  StepTag() {
    request.arena = &arena;
    request.ready = &ready;
  }
  Arena arena;
  ReadyList ready;
  Request request;
};

}  // namespace sluice::test
