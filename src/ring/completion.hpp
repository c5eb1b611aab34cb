// Completion: anything the ring can submit and be told the result of.
//
// The object stays where it is from submit() until its last CQE: it usually is an awaitable in a
// coroutine frame.
#pragma once

#include <liburing.h>

#include <cstdint>

namespace sluice {

// What the kernel says of one that was submitted.
struct Cqe {
  uint64_t user_data = 0;
  int32_t result = 0;
  uint32_t flags = 0;
};

class Completion {
 public:
  // Fills a zeroed SQE. Called when there is room for one, which may be later than submit(). The
  // ring sets user_data.
  virtual void prepare(io_uring_sqe& sqe) = 0;

  // A CQE has arrived. May submit again; must not resume a coroutine, only make it ready.
  virtual void complete(int32_t result, uint32_t flags) = 0;

 protected:
  Completion() = default;
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;
  ~Completion() = default;

  // Ring::cancel was called: what is short now must not go on.
  bool cancelled() const { return cancelled_; }

 private:
  friend class Ring;
  Completion* next_waiting_ = nullptr;
  bool cancelled_ = false;
};

// Message: work handed to a ring by another thread (Ring::post). Owned by the sender until it ran.
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
