// RegisterUseRelease: REGISTER_IO_BUF, one operation on the buffer and UNREGISTER_IO_BUF as linked
// SQEs of one submission: the form in which GET_BUF was proposed (S99).
//
//   io_uring_sqe writing{};                          WRITE_FIXED or the like: addr is an offset in
//   ...                                              the buffer, buf_index is where.slot
//   ublk::RegisterUseRelease command(ring, where, writing);
//   const int32_t result = co_await command;
//
// Only the last link is hard: the buffer is unregistered whatever the result of its use, but
// nothing runs if it was not registered, because that would affect another buffer in the slot
// (S120). Ends with the last of the three CQEs. If the kernel has no links, or the ring no room for
// all three, they are submitted one after the other.
//
// Lives in a coroutine's frame, on the ring's thread. The caller owns the slot:
// Ring::acquire_slot(). The queue does not use this class (src/frontend/ublk/queue.cpp): it
// registers pages before it knows the target's operations.
#pragma once

#include <array>
#include <coroutine>

#include "ring/ring.hpp"

namespace sluice::ublk {

class [[nodiscard]] RegisterUseRelease {
 public:
  // The request that owns the buffer, and the slot for it.
  struct Where {
    File char_device;  // /dev/ublkcN
    uint16_t queue = 0;
    uint16_t tag = 0;
    uint16_t slot = 0;
  };

  RegisterUseRelease(Ring& ring, const Where& where, const io_uring_sqe& use);

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine);
  // The operation's result; if the buffer could not be registered: EINVAL: no such slot or request;
  // EBUSY: the slot is taken.
  int32_t await_resume() const;

  // The results of all three, in order; ECANCELED: was not run.
  std::array<int32_t, 3> results() const;

 private:
  class Part final : public Completion {
   public:
    Part(RegisterUseRelease& whole, const io_uring_sqe& sqe) : whole_(whole), sqe_(sqe) {}
    void prepare(io_uring_sqe& sqe) override { sqe = sqe_; }
    void complete(int32_t result, uint32_t flags) override;
    int32_t result() const { return result_; }
    void link(uint8_t flag) { sqe_.flags |= flag; }

   private:
    RegisterUseRelease& whole_;
    io_uring_sqe sqe_;
    int32_t result_ = -ECANCELED;
  };

  void go_on();

  Ring& ring_;
  std::array<Part, 3> parts_;
  bool linked_ = false;
  size_t ended_ = 0;
  std::coroutine_handle<> coroutine_;
};

}  // namespace sluice::ublk
