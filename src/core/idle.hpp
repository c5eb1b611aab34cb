// Idle: suspends a coroutine until another of the same thread wakes it.
//
//   std::coroutine_handle<> sender_;           null: it does not wait
//   Idle idle{sender_};  co_await idle;        the sender
//   wake(ready, sender_);                      whoever has work for it
#pragma once

#include <coroutine>
#include <utility>

#include "core/ready_list.hpp"

namespace sluice {

struct Idle {
  std::coroutine_handle<>& place;

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) const { place = coroutine; }
  void await_resume() const {}
};

// Does nothing if nobody waits there.
inline void wake(ReadyList& ready, std::coroutine_handle<>& place) {
  if (place) ready.push(std::exchange(place, nullptr));
}

}  // namespace sluice
