#include "frontend/nbd/reply_pipe.hpp"

#include <fcntl.h>
#include <poll.h>

#include <cassert>
#include <cerrno>
#include <utility>

#include "ring/sockets.hpp"

namespace sluice::nbd {
namespace {

// splice() to a socket waits unless the socket is non-blocking; but the operations of the ring must
// wait. They look at that flag when they are submitted, which does not happen in between.
ssize_t move_without_waiting(const Pipe& pipe, int socket, uint32_t length) {
  const int flags = fcntl(socket, F_GETFL);
  fcntl(socket, F_SETFL, flags | O_NONBLOCK);
  const ssize_t moved =
      splice(pipe.read_end.number(), nullptr, socket, nullptr, length, SPLICE_F_NONBLOCK);
  const int error = errno;
  fcntl(socket, F_SETFL, flags);
  errno = error;
  return moved;
}

}  // namespace

bool ReplyPipe::fill(uint64_t offset, uint32_t length, bool look_again) {
  assert(is_taken_ && held_bytes_ == 0);
  if (!look_again || file_->has(offset, length)) pipe_ = stock_.take();
  if (pipe_) {
    held_bytes_ = length;  // or a part
    if (file_->add_to(pipe_->write_end.number(), offset, length)) return true;
  }
  give_back();
  return false;
}

Task ReplyPipe::send([[maybe_unused]] Request& own, File socket, uint32_t length) {
  assert(length == held_bytes_);
  while (held_bytes_ != 0) {
    const ssize_t moved = move_without_waiting(*pipe_, socket.number, held_bytes_);
    if (moved > 0) {
      held_bytes_ -= static_cast<uint32_t>(moved);
      continue;
    }
    if (moved == 0) co_return Status::from_errno(EPIPE);
    if (errno != EAGAIN && errno != EINTR) co_return Status::from_errno(errno);
    auto polling = sockets::poll(ring_, socket, POLLOUT);
    if (const int32_t ready = co_await polling; ready < 0) co_return Status::from_result(ready);
  }
  co_return kOk;
}

void ReplyPipe::give_back() {
  if (pipe_) stock_.give_back(*std::exchange(pipe_, std::nullopt), held_bytes_ == 0);
  held_bytes_ = 0;
  if (PipeTurn* const next = waiting_.pop()) {
    ring_.ready().push(next->coroutine);
  } else {
    is_taken_ = false;
  }
}

}  // namespace sluice::nbd
