// Retry: polls, up to a time limit, for a change that the kernel does not announce.
//
//   for (Retry retry(kNodeTimeout); !exists(path);) {
//     if (!retry.again()) return fail(ETIMEDOUT, ...);
//   }
//
// For the control path: it sleeps. A condition is always checked once more after the last pause.
#pragma once

#include <chrono>
#include <thread>

namespace sluice {

class Retry {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Retry(std::chrono::milliseconds timeout,
                 std::chrono::milliseconds pause = std::chrono::milliseconds(2))
      : give_up_(Clock::now() + timeout), pause_(pause) {}

  // False: the time is over. Otherwise true, after a pause.
  bool again() const {
    if (Clock::now() > give_up_) return false;
    std::this_thread::sleep_for(pause_);
    return true;
  }

 private:
  const Clock::time_point give_up_;
  const std::chrono::milliseconds pause_;
};

// Waits until `condition` holds. False: it did not within the time limit.
template <typename Condition>
bool wait_until(std::chrono::milliseconds timeout, Condition condition) {
  const Retry retry(timeout);
  while (!condition()) {
    if (!retry.again()) return false;
  }
  return true;
}

}  // namespace sluice
