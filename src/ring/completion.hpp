// Completion: anything that the ring can submit and receives a result for.
//
// The object must not move from submit() until its last CQE. It usually is an awaitable in a
// coroutine frame.
#pragma once

#include <liburing.h>

#include <cstdint>

#include "core/fifo.hpp"

namespace sluice {

// The kernel's result of a submitted operation.
struct Cqe {
  uint64_t user_data = 0;
  int32_t result = 0;
  uint32_t flags = 0;
};

class Completion : public FifoLink<Completion> {
 public:
  // Fills a zeroed SQE. Called when an SQE is free, which may be later than submit(). The ring sets
  // user_data.
  virtual void prepare(io_uring_sqe& sqe) = 0;

  // Handles a CQE. May submit again; must not resume a coroutine, only make it ready.
  virtual void complete(int32_t result, uint32_t flags) = 0;

 protected:
  Completion() = default;
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;
  ~Completion() = default;

  // True after Ring::cancel(): a short operation must not be continued.
  bool cancelled() const { return cancelled_; }

 private:
  friend class Ring;
  bool cancelled_ = false;
};

// Message: work for a ring from another thread (Ring::post). Owned by the sender until it has run.
class Message {
 public:
  // Runs on the ring's thread, between completions and coroutines.
  virtual void run() = 0;

 protected:
  Message() = default;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() = default;

 private:
  friend class Ring;
  Message* next_message_ = nullptr;
};

}  // namespace sluice
