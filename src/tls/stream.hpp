// Stream: TLS on a connected socket.
//
//   Stream stream(socket, credentials);
//   Task shaking = stream.shake_hands(request, {.ring = ring, .limit = &limit});
//   const Status begun = co_await shaking;               EPROTO: see why()
//
// OpenSSL reads and writes the socket itself, without blocking; the ring waits for it to be ready.
// The process ignores SIGPIPE.
// One coroutine receives while another sends, both on the same thread. Two streams share nothing.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "core/task.hpp"
#include "ring/completion.hpp"
#include "ring/timeout.hpp"
#include "tls/credentials.hpp"

namespace sluice::tls {

class Stream {
 public:
  // How to wait for the socket.
  struct Wait {
    Ring& ring;
    Timeout* limit = nullptr;
    Completion** pending = nullptr;  // while it waits: what to cancel
  };

  // The socket outlives the stream, and belongs to it alone.
  Stream(int socket, std::shared_ptr<const Credentials> credentials);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  Task shake_hands(Request& own, Wait wait);
  // At least one byte; `received` is 0 where the peer has closed in an orderly way. ECONNRESET: it
  // has closed without a word; EPROTO; ETIMEDOUT; ECANCELED.
  Task receive(Request& own, Wait wait, std::span<std::byte> room, size_t& received);
  // All bytes of all pieces.
  Task send(Request& own, Wait wait, std::span<const iovec> pieces);
  // Tells the peer that no more is sent, if that is possible without waiting.
  void close();

  // Why the last call failed; goes on after "TLS: ".
  const std::string& why() const { return why_; }

 private:
  static constexpr size_t kRecordBytes = 16 << 10;
  static constexpr size_t kUnbrokenBytes = 256 << 10;

  Task put(Request& own, Wait wait, std::span<const std::byte> bytes);
  Task settle(Request& own, Wait wait, int result);
  Task let_others_run(Request& own, Wait wait, size_t bytes);
  Status explain(int reason);

  const std::shared_ptr<const Credentials> credentials_;
  const int socket_;
  ssl_st* const ssl_;
  std::unique_ptr<std::byte[]> staged_;  // small pieces, until they fill a record
  size_t unbroken_ = 0;                  // bytes since the ring last had its turn
  bool hung_up_ = false;                 // nothing more will come
  std::string why_;
};

}  // namespace sluice::tls
