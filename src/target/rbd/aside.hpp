// Aside: a call that may block, on a thread of its own, which nobody has to wait for.
//
//   auto opening = Aside::start("sluice-open", [state] { state->open(); });   owns what it uses
//   Task waiting = (*opening)->wait(request, deadline);                       on a ring
//   if (co_await waiting ...)          ETIMEDOUT: it goes on, and ends without us
//
// Not for the data path.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.hpp"
#include "core/task.hpp"

namespace sluice::rbd {

class Aside {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::shared_ptr<Aside>> start(const std::string& name,
                                              std::move_only_function<void()> work);

  // ETIMEDOUT: it has not ended by then.
  Task wait(Request& request, Clock::time_point deadline);
  Status wait(Clock::time_point deadline);

 private:
  bool has_ended();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

}  // namespace sluice::rbd
