// LinkedCommand: a command that the kernel itself starts as soon as an operation has moved all its
// bytes: the commit of a request after its one transfer, with one system call for both.
//
//   linked_command.offer(sqe);            front end, before it submits the request
//   auto reading = ring.read(...);        target, if nothing is left to do afterwards
//   reading.then(request.linked_command);
//   const Status status = co_await reading;
//   if (linked_command.done()) ...        front end; otherwise it issues the command itself
//
// The two SQEs are linked: on success there is one CQE, the command's, which also ends the
// operation. If the operation is short or fails, the kernel cancels the command, and the operation
// continues as if it had never been linked.
//
// Owned by a tag of a front end; used by its ring's thread only.
#pragma once

#include <cassert>

#include "ring/completion.hpp"

namespace sluice {

class LinkedCommand final : public Completion {
 public:
  // Makes the command available to the next operation.
  void offer(const io_uring_sqe& sqe) {
    assert(state_ != State::linked);
    sqe_ = sqe;
    state_ = State::offered;
  }
  void withdraw() {
    assert(state_ != State::linked);
    state_ = State::none;
  }

  // True if the operation has moved all its bytes and the command has completed, with this result.
  bool done() const { return state_ == State::done; }
  int32_t result() const { return result_; }

  // True while both are submitted.
  bool linked() const { return state_ == State::linked; }

  // For the ring and the operation only.
  bool offered() const { return state_ == State::offered; }
  void link_to(Completion& leader, int32_t leader_result) {
    leader_ = &leader;
    leader_result_ = leader_result;
    state_ = State::linked;
  }
  void drop() { state_ = State::none; }
  void prepare(io_uring_sqe& sqe) override { sqe = sqe_; }
  void complete(int32_t result, uint32_t) override {
    assert(state_ == State::linked);
    result_ = result;
    state_ = State::done;
    leader_->complete(leader_result_, 0);
  }

 private:
  enum class State : uint8_t { none, offered, linked, done };

  State state_ = State::none;
  int32_t result_ = 0;
  int32_t leader_result_ = 0;  // if it has moved all its bytes
  Completion* leader_ = nullptr;
  io_uring_sqe sqe_{};
};

}  // namespace sluice
