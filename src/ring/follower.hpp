// Follower: a command that the kernel does by itself as soon as an operation has moved all its
// bytes: the commit of a request after its one transfer, in one system call for both.
//
//   follower.offer(sqe);                  the front end, before it submits the request
//   auto reading = ring.read(...);        the target, where nothing is left to do afterwards
//   reading.then(request.follower);
//   const Status status = co_await reading;
//   if (follower.done()) ...              the front end; otherwise it does the command itself
//
// The two are linked: where all goes well there is one CQE, the command's, and the operation ends
// when that has come. Where the operation is short or fails the kernel drops the command, and the
// operation goes on as if there had never been one.
//
// Owned by a tag of a front end; used by its ring's thread only.
#pragma once

#include <cassert>

#include "ring/completion.hpp"

namespace sluice {

class Follower final : public Completion {
 public:
  // For the next operation that takes it.
  void offer(const io_uring_sqe& sqe) {
    assert(state_ != State::linked);
    sqe_ = sqe;
    state_ = State::offered;
  }
  void withdraw() {
    assert(state_ != State::linked);
    state_ = State::none;
  }

  // Whether the operation has moved all its bytes and the command was done; its result.
  bool done() const { return state_ == State::done; }
  int32_t result() const { return result_; }

  // Whether the kernel has the two of them.
  bool linked() const { return state_ == State::linked; }

  // What the ring and the operation call.
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
  int32_t leader_result_ = 0;  // of one that moved all its bytes
  Completion* leader_ = nullptr;
  io_uring_sqe sqe_{};
};

}  // namespace sluice
