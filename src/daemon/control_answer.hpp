// ControlAnswer: the pending answer of a command to its client; given once, on any thread.
//
// Movable. If it is destroyed without an answer, the client gets an Error, so that it does not
// wait.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "spec/json_value.hpp"

namespace sluice {

// A reply with descriptors for the client. They are closed here after sending.
struct ControlReply {
  JsonValue body = JsonValue::object();
  std::vector<Descriptor> descriptors;
};

// The stage of a request, shared by the waiting client and the executing thread; the first change
// wins. given_up: the client has disconnected, or was told that its time is over.
enum class RequestStage : uint8_t { waiting, begun, given_up };
using SharedStage = std::shared_ptr<std::atomic<RequestStage>>;

// False: the other side was first.
inline bool leave_waiting(const SharedStage& stage, RequestStage next) {
  RequestStage expected = RequestStage::waiting;
  return stage->compare_exchange_strong(expected, next);
}

class ControlAnswer {
 public:
  using Receiver = std::move_only_function<void(Result<ControlReply>)>;

  ControlAnswer() = default;  // without a client
  explicit ControlAnswer(Receiver receiver, SharedStage stage = nullptr)
      : receiver_(std::move(receiver)), stage_(std::move(stage)) {}
  ControlAnswer(ControlAnswer&& other) noexcept
      : receiver_(std::exchange(other.receiver_, nullptr)), stage_(std::move(other.stage_)) {}
  ControlAnswer& operator=(ControlAnswer&& other) noexcept {
    std::swap(receiver_, other.receiver_);
    std::swap(stage_, other.stage_);
    return *this;
  }
  ~ControlAnswer() {
    if (is_owed()) (*this)(fail(ECANCELED, "the server dropped the request unanswered: try again"));
  }

  // Called once by the thread that executes the request later, before it changes anything. False:
  // the client no longer waits, so the request must not be executed.
  bool begin() { return !stage_ || leave_waiting(stage_, RequestStage::begun); }

  // True until the answer is given or moved from.
  bool is_owed() const { return receiver_ != nullptr; }
  void operator()(Result<ControlReply> reply) {
    std::exchange(receiver_, nullptr)(std::move(reply));
  }

 private:
  Receiver receiver_;
  SharedStage stage_;
};

}  // namespace sluice
