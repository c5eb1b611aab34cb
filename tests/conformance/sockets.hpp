// Connected sockets of a test, and what has come through them.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "conformance/scene.hpp"

namespace sluice::test {

struct SocketPair {
  Descriptor near;
  Descriptor far;
};

// They take a request of 128 KiB without anybody reading.
inline SocketPair unix_sockets() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

// Over the loopback device: unix sockets know no SEND_ZC.
inline SocketPair tcp_sockets() {
  const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const at = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(listener.number(), at, length), 0);
  EXPECT_EQ(listen(listener.number(), 1), 0);
  EXPECT_EQ(getsockname(listener.number(), at, &length), 0);
  Descriptor near(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(near.number(), at, length), 0);
  return {std::move(near), Descriptor(accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC))};
}

// Waits for them.
inline std::vector<std::byte> received(const Descriptor& socket, size_t bytes) {
  std::vector<std::byte> got(bytes);
  const ssize_t count = recv(socket.number(), got.data(), bytes, MSG_WAITALL);
  got.resize(count < 0 ? 0 : static_cast<size_t>(count));
  return got;
}

// What is there to be received.
inline int pending_bytes(const Descriptor& socket) {
  int bytes = -1;
  EXPECT_EQ(ioctl(socket.number(), FIONREAD, &bytes), 0);
  return bytes;
}

}  // namespace sluice::test
