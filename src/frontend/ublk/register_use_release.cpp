#include "frontend/ublk/register_use_release.hpp"

#include "frontend/ublk/io_command.hpp"

namespace sluice::ublk {
namespace {

io_uring_sqe buffer_command(const RegisterUseRelease::Where& where, unsigned long op) {
  return io_command_sqe(
      where.char_device, op,
      {.queue_id = where.queue, .tag = where.tag, .result = 0, .address = where.slot});
}

}  // namespace

RegisterUseRelease::RegisterUseRelease(Ring& ring, const Where& where, const io_uring_sqe& use)
    : ring_(ring),
      parts_{Part(*this, buffer_command(where, abi::kRegisterIoBuf)), Part(*this, use),
             Part(*this, buffer_command(where, abi::kUnregisterIoBuf))} {}

void RegisterUseRelease::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  linked_ = ring_.abilities().links && ring_.has_room(3);
  if (!linked_) {
    ring_.submit(parts_[0]);
    return;
  }
  parts_[0].link(IOSQE_IO_LINK);
  parts_[1].link(IOSQE_IO_HARDLINK);
  for (Part& part : parts_) ring_.submit(part);
}

void RegisterUseRelease::Part::complete(int32_t result, uint32_t) {
  result_ = result;
  whole_.go_on();
}

void RegisterUseRelease::go_on() {
  ++ended_;
  const bool registered = parts_[0].result() >= 0;
  if (ended_ == parts_.size() || (!linked_ && !registered)) {
    ring_.ready().push(coroutine_);
  } else if (!linked_) {
    ring_.submit(parts_[ended_]);
  }
}

int32_t RegisterUseRelease::await_resume() const {
  return parts_[0].result() < 0 ? parts_[0].result() : parts_[1].result();
}

std::array<int32_t, 3> RegisterUseRelease::results() const {
  return {parts_[0].result(), parts_[1].result(), parts_[2].result()};
}

}  // namespace sluice::ublk
