// Requests in flight, which a front end has taken and not yet answered, and their positions in the
// stack.
//
// InFlight is a value. Its pointers to targets are valid while the stack is open.
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
  uint64_t age_cycles = 0;  // of the front end's request; 0 in children
  Op op = Op::flush;
  uint64_t offset = 0;
  uint64_t length = 0;
  const Target* at = nullptr;  // the target that it entered last; null: in the front end
  std::vector<InFlight> children;
};

// Describes the request and its children. On its reactor's thread.
InFlight describe(const Request& request);

// InFlightInquiry: makes a reactor's thread list its requests, which no other thread may access.
//
// Owned by the reactor; any thread may ask. It costs the reactor nothing until then.
class InFlightInquiry final : private Message {
 public:
  using Look = std::function<std::vector<InFlight>()>;
  // Posts a message to the ring; false if there is no ring any more.
  using Post = std::function<bool(Message&)>;

  explicit InFlightInquiry(Look look) : look_(std::move(look)) {}

  // ETIMEDOUT: the thread did not answer within about a second.
  Result<std::vector<InFlight>> ask(const Post& post);

 private:
  void run() override;

  const Look look_;
  std::mutex mutex_;
  std::condition_variable answered_;
  bool posted_ = false;  // also by a caller that has given up since
  std::optional<std::vector<InFlight>> found_;
};

}  // namespace sluice
