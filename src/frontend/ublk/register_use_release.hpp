// RegisterUseRelease: REGISTER_IO_BUF, one operation on the buffer and UNREGISTER_IO_BUF as linked
// SQEs of one submission: GET_BUF with its user and its release as they were drawn up (S99).
//
//   io_uring_sqe writing{};                          WRITE_FIXED or the like: addr is an offset in
//   ...                                              the buffer, buf_index is where.slot
//   ublk::RegisterUseRelease command(ring, where, writing);
//   const int32_t result = co_await command;
//
// Only the last link is hard: the buffer leaves the table however its use has ended, but nothing is
// done where it did not get there, which would be done to the buffer that is in the slot instead
// (S120). Ends with the last of the three CQEs. Where the kernel has no links, or the ring no room
// for all three at once, they are submitted one after the other.
//
// In a coroutine's frame, on the ring's thread. The slot is the caller's: Ring::acquire_slot(). The
// queue does without this class (src/frontend/ublk/queue.cpp): it has its pages registered before
// it knows what a target will do with them.
#pragma once

#include <array>
#include <coroutine>

#include "ring/ring.hpp"

namespace sluice::ublk {

class [[nodiscard]] RegisterUseRelease {
 public:
  // Which request's buffer, and the slot that it goes into.
  struct Where {
    File char_device;  // /dev/ublkcN
    uint16_t queue = 0;
    uint16_t tag = 0;
    uint16_t slot = 0;
  };

  RegisterUseRelease(Ring& ring, const Where& where, const io_uring_sqe& use);

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine);
  // The operation's result, where the buffer was registered; otherwise why not: EINVAL: no such
  // slot or request; EBUSY: the slot is taken.
  int32_t await_resume() const;

  // Of all three, in order; ECANCELED: was not done.
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
