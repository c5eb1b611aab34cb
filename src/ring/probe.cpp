#include "ring/probe.hpp"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>

#include "ring/abi.hpp"

namespace sluice {
namespace {

bool send_one_fixed_byte(io_uring& ring, int socket) {
  char byte = 0;
  const iovec buffer{&byte, 1};
  if (io_uring_register_buffers(&ring, &buffer, 1) != 0) return false;
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  io_uring_prep_send(sqe, socket, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  sqe->ioprio |= abi::kRecvsendFixedBuf;
  sqe->buf_index = 0;
  io_uring_cqe* cqe = nullptr;
  if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe) != 0) return false;
  const bool sent = cqe->res == 1;
  io_uring_cqe_seen(&ring, cqe);
  return sent;
}

bool try_socket_fixed() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return false;
  io_uring ring{};
  bool works = false;
  if (io_uring_queue_init(2, &ring, 0) == 0) {
    works = send_one_fixed_byte(ring, sockets[0]);
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
