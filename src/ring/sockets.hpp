// Socket operations on a connection's own memory: addresses and headers. For lent data use
// Ring::send, send_zc and recv. None of the operations blocks; all can be cancelled, and limited by
// a Timeout.
//
//   auto connecting = sockets::connect(ring, socket, address, length);
//   const int32_t result = co_await connecting;        0, or a negative errno
//
// An operation is submitted when it is awaited. Its arguments stay in place until it has ended. To
// accept connections, see ring/acceptor.hpp.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/file.hpp"
#include "core/status.hpp"
#include "ring/raw_operation.hpp"

namespace sluice {

class Ring;

namespace sockets {

RawOperation connect(Ring& ring, File socket, const sockaddr& address, socklen_t length);
RawOperation shutdown(Ring& ring, File socket, int how);  // SHUT_RD, SHUT_WR, SHUT_RDWR
// Waits for one of the events (POLLIN ...); returns those that have occurred, POLLERR and POLLHUP
// included. If the descriptor has several readers, or is an eventfd, the event may be over by then:
// read without blocking, and poll again on EAGAIN.
RawOperation poll(Ring& ring, File file, uint32_t events);

// Receives what there is, at least one byte; 0: the peer has closed.
RawOperation recv_some(Ring& ring, File socket, std::span<std::byte> room);

// Transfers all bytes of a header to or from a stream; continues short transfers.
class [[nodiscard]] Transfer;
// Pass MSG_MORE if lent data follows at once.
Transfer send_all(Ring& ring, File socket, std::span<const std::byte> bytes, int message_flags = 0);
// ECONNRESET: the peer has closed, before the first byte (clean_end()) or later.
Transfer recv_all(Ring& ring, File socket, std::span<std::byte> bytes);
// Sends all pieces, in order. The list itself is used up.
class [[nodiscard]] GatherSend;

}  // namespace sockets

class [[nodiscard]] sockets::Transfer final : public Completion {
 public:
  bool await_ready() const { return length_ == 0; }
  void await_suspend(std::coroutine_handle<> coroutine);
  Status await_resume() const { return status_; }

  // Bytes moved so far, also after a failure.
  size_t moved_bytes() const { return moved_; }
  // True if the peer has closed in an orderly way, before the first byte.
  bool clean_end() const { return closed_ && moved_ == 0; }

  void prepare(io_uring_sqe& sqe) override;
  void complete(int32_t result, uint32_t flags) override;

 private:
  friend Transfer sockets::send_all(Ring&, File, std::span<const std::byte>, int);
  friend Transfer sockets::recv_all(Ring&, File, std::span<std::byte>);

  enum class Verb : uint8_t { send, recv };
  Transfer(Ring& ring, Verb verb, File socket, std::byte* memory, size_t length, int message_flags)
      : ring_(ring),
        verb_(verb),
        socket_(socket),
        memory_(memory),
        length_(length),
        message_flags_(message_flags) {}

  Ring& ring_;
  const Verb verb_;
  const File socket_;
  std::byte* const memory_;
  const size_t length_;
  const int message_flags_;
  size_t moved_ = 0;
  bool closed_ = false;
  bool wait_all_ = true;
  Status status_;
  std::coroutine_handle<> coroutine_;
};

class [[nodiscard]] sockets::GatherSend final : public Completion {
 public:
  GatherSend(Ring& ring, File socket, std::span<iovec> pieces, int message_flags = 0)
      : ring_(ring), socket_(socket), left_(pieces), message_flags_(message_flags) {}

  // Bytes not sent yet.
  size_t left_bytes() const;
  bool await_ready() const { return left_.empty(); }
  void await_suspend(std::coroutine_handle<> coroutine);
  Status await_resume() const { return status_; }

  void prepare(io_uring_sqe& sqe) override;
  void complete(int32_t result, uint32_t flags) override;

 private:
  Ring& ring_;
  const File socket_;
  std::span<iovec> left_;
  const int message_flags_;
  msghdr message_{};
  Status status_;
  std::coroutine_handle<> coroutine_;
};

}  // namespace sluice
