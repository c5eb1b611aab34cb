#include "ring/external_completion.hpp"

#include <thread>
#include <utility>

#include "ring/ring.hpp"

namespace sluice {

void ExternalCount::begin() {
  ++under_way_;
  ring_.begin_external();
}

void ExternalCount::end() {
  ring_.end_external();
  if (--under_way_ != 0 || !awaits_end_) return;
  ring_.ready().push(std::exchange(awaits_end_, nullptr));
}

void ExternalCompletion::begin() {
  assert(state_ == State::fresh);
  state_ = State::under_way;
  count_.begin();
}

// The ring may end with this completion: `let_go_` is set after the last use of the ring.
void ExternalCompletion::complete(int64_t result) noexcept {
  result_ = result;
  count_.ring_.post(*this);
  let_go_.store(true, std::memory_order_release);
}

void ExternalCompletion::run() {
  while (!let_go_.load(std::memory_order_acquire)) std::this_thread::yield();
  assert(state_ == State::under_way && "it is completed once");
  state_ = State::ended;
  ExternalCount& count = count_;
  if (coroutine_) count.ring_.ready().push(coroutine_);
  count.end();  // a waiter for the last one is resumed after it
}

}  // namespace sluice
