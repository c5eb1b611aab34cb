// The data received through the sockets of a test.
#pragma once

#include <sys/ioctl.h>

#include "conformance/scene.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {

// Waits for them.
inline std::vector<std::byte> received(const Descriptor& socket, size_t bytes) {
  std::vector<std::byte> got(bytes);
  const ssize_t count = recv(socket.number(), got.data(), bytes, MSG_WAITALL);
  got.resize(count < 0 ? 0 : static_cast<size_t>(count));
  return got;
}

// The data that can be received now.
inline int pending_bytes(const Descriptor& socket) {
  int bytes = -1;
  EXPECT_EQ(ioctl(socket.number(), FIONREAD, &bytes), 0);
  return bytes;
}

}  // namespace sluice::test
