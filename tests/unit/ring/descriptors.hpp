// Files, sockets and pipes of a test; they close themselves.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <system_error>

#include "core/descriptor.hpp"
#include "core/file.hpp"
#include "unit/ring/bytes.hpp"

namespace sluice::test {

// Checks `number`, the result of a system call; throws on an error.
inline Descriptor opened(int number) {
  if (number < 0) throw std::system_error(errno, std::generic_category(), "a descriptor");
  return Descriptor(number);
}

inline File file_of(const Descriptor& descriptor) { return {.number = descriptor.number()}; }

struct Pair {
  Descriptor near;
  Descriptor far;
};

inline Pair stream_sockets() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) ends[0] = ends[1] = -1;
  return {opened(ends[0]), opened(ends[1])};
}

// SEND_ZC needs a socket that supports it: TCP does, a socket pair does not.
inline Pair tcp_sockets() {
  const Descriptor listener = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  Pair pair;
  pair.near = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (bind(listener.number(), generic, length) != 0 || listen(listener.number(), 1) != 0 ||
      getsockname(listener.number(), generic, &length) != 0 ||
      connect(pair.near.number(), generic, length) != 0) {
    throw std::system_error(errno, std::generic_category(), "TCP on this machine");
  }
  pair.far = opened(accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC));
  return pair;
}

// `near` is the end to read from.
inline Pair pipe_ends() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) ends[0] = ends[1] = -1;
  return {opened(ends[0]), opened(ends[1])};
}

// A file without a name. `flags`: O_DIRECT, for example; throws if the file system does not support
// it.
inline Descriptor temporary_file(std::span<const std::byte> content = {}, int flags = 0) {
  const char* const folder = std::getenv("TMPDIR");
  std::string path = std::string(folder != nullptr ? folder : "/tmp") + "/sluice-XXXXXX";
  Descriptor file = opened(mkstemp(path.data()));
  const ssize_t written = pwrite(file.number(), content.data(), content.size(), 0);
  if (written != static_cast<ssize_t>(content.size())) throw std::runtime_error("cannot write");
  if (flags != 0) file = opened(open(path.c_str(), O_RDWR | O_CLOEXEC | flags));
  unlink(path.c_str());
  return file;
}

inline Bytes content_of(const Descriptor& file, size_t count, off_t offset = 0) {
  Bytes bytes(count);
  bytes.resize(
      static_cast<size_t>(std::max<ssize_t>(0, pread(file.number(), bytes.data(), count, offset))));
  return bytes;
}

// Reads all available bytes without waiting.
inline Bytes received_by(const Descriptor& socket) {
  Bytes bytes(1 << 20);
  const ssize_t count = recv(socket.number(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(static_cast<size_t>(std::max<ssize_t>(0, count)));
  return bytes;
}

}  // namespace sluice::test
