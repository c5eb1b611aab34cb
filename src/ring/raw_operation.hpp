// RawOperation: submits the caller's SQE unchanged and returns the CQE's result.
#pragma once

#include <liburing.h>

#include <coroutine>
#include <cstdint>

#include "ring/completion.hpp"

namespace sluice {

class Ring;

class [[nodiscard]] RawOperation final : public Completion {
 public:
  RawOperation(Ring& ring, const io_uring_sqe& sqe) : ring_(ring), sqe_(sqe) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine);
  int32_t await_resume() const { return result_; }

  void prepare(io_uring_sqe& sqe) override { sqe = sqe_; }
  void complete(int32_t result, uint32_t flags) override;

 private:
  Ring& ring_;
  io_uring_sqe sqe_;
  int32_t result_ = 0;
  std::coroutine_handle<> coroutine_;
};

}  // namespace sluice
