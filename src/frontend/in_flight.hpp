// What is in flight: requests that a front end has taken and not yet answered, and where they are.
//
// InFlight is a value. Targets are named by pointers, which are good while the stack is open.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "core/error.hpp"
#include "core/request.hpp"
#include "ring/completion.hpp"

namespace sluice {

struct InFlight {
  uint16_t queue = 0;
  uint16_t tag = 0;
  uint64_t age_ticks = 0;  // of the front end's request; 0 in children
  Op op = Op::flush;
  uint64_t offset = 0;
  uint64_t length = 0;
  const Target* at = nullptr;  // the last target that it has come to; null: with the front end
  std::vector<InFlight> children;
};

// The request with all that was made of it. On its reactor's thread.
InFlight describe(const Request& request);

// InFlightInquiry: has a reactor's thread look at its requests, which nobody else may.
//
// Owned by the reactor; asked by any thread. It costs the thread nothing until somebody asks.
class InFlightInquiry final : private Message {
 public:
  using Look = std::function<std::vector<InFlight>()>;
  // Hands a message to the ring; false when there is no ring any more.
  using Post = std::function<bool(Message&)>;

  explicit InFlightInquiry(Look look) : look_(std::move(look)) {}

  // ETIMEDOUT: the thread has not come round to it within a second or so.
  Result<std::vector<InFlight>> ask(const Post& post);

 private:
  void run() override;

  const Look look_;
  std::mutex mutex_;
  std::condition_variable answered_;
  bool posted_ = false;  // also by one who has given up since
  std::optional<std::vector<InFlight>> found_;
};

}  // namespace sluice
