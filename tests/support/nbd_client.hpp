// NbdClient: a client of an NBD export, one blocking call at a time, on a unix socket.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "nbd/client_handshake.hpp"
#include "nbd/reply.hpp"
#include "nbd/request.hpp"

namespace sluice::test {

class NbdClient {
 public:
  using Data = std::vector<std::byte>;
  // The reply to a request: an errno, and what came with it.
  struct Reply {
    int error = 0;
    uint64_t cookie = 0;
    Data data;                               // of a READ
    std::vector<nbd::StatusExtent> extents;  // of block status
  };

  // Only connects.
  explicit NbdClient(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    connected_ = connect(socket_.number(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0;
  }

  bool connected() const { return connected_; }
  int socket() const { return socket_.number(); }
  const nbd::ClientHandshake::Agreement& agreed() const { return agreement_; }

  using Send = std::function<void(nbd::Bytes)>;
  // Returns why it fails; empty: requests can be sent. `send`: in place of send_bytes().
  std::string shake_hands(nbd::ClientHandshake::Wish wish = {}, const Send& send = {});

  void send_bytes(nbd::Bytes bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes = bytes.subspan(static_cast<size_t>(sent));
    }
  }
  void ask(nbd::RequestHeader request, nbd::Bytes payload = {}) {
    if (agreement_.headers == nbd::Headers::extended && !payload.empty()) {
      request.flags |= nbd::kPayloadLength;
    }
    Data bytes(nbd::kExtendedRequestBytes);
    bytes.resize(nbd::write_request(request, agreement_.headers, bytes));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    send_bytes(bytes);
  }

  // The next whole reply; nullopt: the server has closed the connection, or broken the protocol.
  // `read_bytes`: of the READ that it answers, for simple replies.
  std::optional<Reply> reply(size_t read_bytes = 0);

  // --- One request and its reply.
  Reply call(const nbd::RequestHeader& request, nbd::Bytes payload = {}) {
    ask(request, payload);
    const bool reads = request.command == nbd::Command::read;
    return reply(reads ? request.length : 0)
        .value_or(Reply{.error = ENOTCONN, .data = {}, .extents = {}});
  }
  Reply read(uint64_t offset, uint64_t length, uint16_t flags = 0) {
    return call({.flags = flags,
                 .command = nbd::Command::read,
                 .cookie = ++cookie_,
                 .offset = offset,
                 .length = length});
  }
  int write(uint64_t offset, nbd::Bytes data, uint16_t flags = 0) {
    return call({.flags = flags,
                 .command = nbd::Command::write,
                 .cookie = ++cookie_,
                 .offset = offset,
                 .length = data.size()},
                data)
        .error;
  }
  // Any other command.
  Reply command(nbd::Command what, uint64_t offset, uint64_t length, uint16_t flags = 0) {
    return call(
        {.flags = flags, .command = what, .cookie = ++cookie_, .offset = offset, .length = length});
  }

  // True if the server closes the connection within a few seconds, whatever it sends before.
  bool is_closed() const {
    std::byte bytes[4096];
    while (true) {
      pollfd waiting{.fd = socket(), .events = POLLIN, .revents = 0};
      if (poll(&waiting, 1, 10'000) != 1) return false;
      if (recv(socket(), bytes, sizeof(bytes), 0) <= 0) return true;
    }
  }

 private:
  bool receive(std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t got = recv(socket(), bytes.data(), bytes.size(), MSG_WAITALL);
      if (got <= 0) return false;
      bytes = bytes.subspan(static_cast<size_t>(got));
    }
    return true;
  }

  bool take_chunk(const nbd::ReplyHeader& header, Reply& whole) const;

  Descriptor socket_;
  bool connected_ = false;
  uint64_t cookie_ = 0;
  nbd::ClientHandshake::Agreement agreement_;
};

}  // namespace sluice::test
