// LifeCall: the parameters of one call of Target::start(), attach(), detach() or stop(), and its
// request.
//
// The order for a tree is: start() of a child; attach() of the child to the control reactor;
// start() of its parent, which can then read from the child; attach() of all to each front end's
// reactor, children first; requests; then detach() and stop() in reverse order. stop() and start()
// may be repeated. StackLife ensures this order.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "core/arena.hpp"
#include "core/request.hpp"
#include "core/status.hpp"
#include "ring/ring.hpp"

namespace sluice {

class ControlReactor;
class Jobs;

struct LifeCall {
  using Clock = std::chrono::steady_clock;

  enum class Purpose : uint8_t {
    look,   // only reads the geometry: stop() comes soon, and nothing may be written
    serve,  // requests will come
  };

  Purpose purpose = Purpose::serve;
  Clock::time_point deadline = Clock::time_point::max();  // the call ends by then
  Jobs* jobs = nullptr;                                   // only in start() for `serve`
  // Likewise. Until stop(), for do_resize() to make a new size durable before it returns.
  ControlReactor* control = nullptr;
  std::string why{};  // the reason for a failure, one sentence

  // The time left, for a Timeout. Never negative.
  std::chrono::nanoseconds left() const {
    return std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(deadline - Clock::now()));
  }
  Status fail(int error, std::string text) {
    why = std::move(text);
    return Status::from_errno(error);
  }
};

// The request of such a call, or of a step of a job: without I/O, but with a ring and an arena.
struct LifeRequest {
  explicit LifeRequest(Ring& ring) {
    request.ring = &ring;
    request.ready = &ring.ready();
    request.arena = &arena;
  }
  LifeRequest(const LifeRequest&) = delete;
  LifeRequest& operator=(const LifeRequest&) = delete;

  Arena arena;
  Request request;
};

}  // namespace sluice
