#include "ring/sockets.hpp"

#include <algorithm>

#include "ring/abi.hpp"
#include "ring/ring.hpp"

namespace sluice::sockets {
namespace {

void name_file(io_uring_sqe& sqe, File file) {
  if (file.registered) sqe.flags |= IOSQE_FIXED_FILE;
}

}  // namespace

RawOperation connect(Ring& ring, File socket, const sockaddr& address, socklen_t length) {
  io_uring_sqe sqe{};
  io_uring_prep_connect(&sqe, socket.number, &address, length);
  name_file(sqe, socket);
  return {ring, sqe};
}

RawOperation shutdown(Ring& ring, File socket, int how) {
  io_uring_sqe sqe{};
  io_uring_prep_shutdown(&sqe, socket.number, how);
  name_file(sqe, socket);
  return {ring, sqe};
}

RawOperation poll(Ring& ring, File file, uint32_t events) {
  io_uring_sqe sqe{};
  io_uring_prep_poll_add(&sqe, file.number, events);
  name_file(sqe, file);
  return {ring, sqe};
}

RawOperation recv_some(Ring& ring, File socket, std::span<std::byte> room) {
  io_uring_sqe sqe{};
  io_uring_prep_recv(&sqe, socket.number, room.data(), room.size(), 0);
  name_file(sqe, socket);
  return {ring, sqe};
}

Transfer send_all(Ring& ring, File socket, std::span<const std::byte> bytes, int message_flags) {
  return {ring,         Transfer::Verb::send, socket, const_cast<std::byte*>(bytes.data()),
          bytes.size(), message_flags};
}

Transfer recv_all(Ring& ring, File socket, std::span<std::byte> bytes) {
  return {ring, Transfer::Verb::recv, socket, bytes.data(), bytes.size(), 0};
}

void Transfer::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  ring_.submit(*this);
}

void Transfer::prepare(io_uring_sqe& sqe) {
  const size_t most = std::min<size_t>(length_ - moved_, abi::kMaxTransferBytes);
  const int flags = message_flags_ | (wait_all_ ? MSG_WAITALL : 0) | MSG_NOSIGNAL;
  if (verb_ == Verb::send) {
    io_uring_prep_send(&sqe, socket_.number, memory_ + moved_, most, flags);
  } else {
    io_uring_prep_recv(&sqe, socket_.number, memory_ + moved_, most, flags);
  }
  name_file(sqe, socket_);
}

void Transfer::complete(int32_t result, uint32_t) {
  if (result == 0) {
    closed_ = true;
    status_ = Status::from_errno(ECONNRESET);
  } else if (result == -ENOMEM && verb_ == Verb::recv && wait_all_) {
    wait_all_ = false;  // AF_VSOCK does not wait for more than its buffer holds
  } else if (result < 0 && result != -EINTR) {
    status_ = Status::from_result(result);
  } else {
    moved_ += static_cast<size_t>(std::max(result, 0));
  }
  if (status_.ok() && moved_ < length_) {
    if (!cancelled()) return ring_.submit(*this);
    status_ = Status::from_errno(ECANCELED);
  }
  ring_.ready().push(coroutine_);
}

size_t GatherSend::left_bytes() const {
  size_t bytes = 0;
  for (const iovec& piece : left_) bytes += piece.iov_len;
  return bytes;
}

void GatherSend::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  ring_.submit(*this);
}

void GatherSend::prepare(io_uring_sqe& sqe) {
  message_.msg_iov = left_.data();
  message_.msg_iovlen = left_.size();
  io_uring_prep_sendmsg(&sqe, socket_.number, &message_,
                        static_cast<unsigned>(message_flags_) | MSG_NOSIGNAL);
  name_file(sqe, socket_);
}

void GatherSend::complete(int32_t result, uint32_t) {
  if (result == 0) {
    status_ = Status::from_errno(ECONNRESET);
  } else if (result < 0 && result != -EINTR) {
    status_ = Status::from_result(result);
  }
  size_t sent = static_cast<size_t>(std::max(result, 0));
  while (!left_.empty() && sent >= left_.front().iov_len) {
    sent -= left_.front().iov_len;
    left_ = left_.subspan(1);
  }
  if (!left_.empty()) {
    left_.front().iov_base = static_cast<std::byte*>(left_.front().iov_base) + sent;
    left_.front().iov_len -= sent;
  }
  if (status_.ok() && !left_.empty()) {
    if (!cancelled()) return ring_.submit(*this);
    status_ = Status::from_errno(ECANCELED);
  }
  ring_.ready().push(coroutine_);
}

}  // namespace sluice::sockets
