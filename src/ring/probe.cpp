#include "ring/probe.hpp"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "ring/abi.hpp"

namespace sluice {
namespace {

// The result of sending one byte of registered buffer 0.
int send_fixed(io_uring& ring, int socket, const char* byte) {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  io_uring_prep_send(sqe, socket, byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  sqe->ioprio |= abi::kRecvsendFixedBuf;
  sqe->buf_index = 0;
  io_uring_cqe* cqe = nullptr;
  if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe) != 0) return -EIO;
  const int result = cqe->res;
  io_uring_cqe_seen(&ring, cqe);
  return result;
}

// A kernel that ignores the flag would also send bytes outside the buffer.
bool sends_only_what_is_registered(io_uring& ring, int socket) {
  char bytes[2] = {};
  const iovec first{bytes, 1};
  return io_uring_register_buffers(&ring, &first, 1) == 0 &&
         send_fixed(ring, socket, bytes + 1) == -EFAULT && send_fixed(ring, socket, bytes) == 1;
}

bool try_socket_fixed() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return false;
  io_uring ring{};
  bool works = false;
  if (io_uring_queue_init(2, &ring, 0) == 0) {
    works = sends_only_what_is_registered(ring, sockets[0]);
    io_uring_queue_exit(&ring);
  }
  close(sockets[0]);
  close(sockets[1]);
  return works;
}

}  // namespace

bool kernel_has_socket_fixed() {
  static const bool has = try_socket_fixed();
  return has;
}

bool kernel_has_block_discard() {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 12);
}

}  // namespace sluice
