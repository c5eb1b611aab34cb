// ReplyPipe: the way of large READs of one connection from the page cache to its socket, by splice.
//
//   auto turn = pipe.turn(tag);                 one request at a time
//   co_await turn;
//   if (pipe.fill(offset, length)) ...          all bytes are in hand: the reply may begin
//   Task sending = pipe.send(own, socket, length);
//   pipe.give_back();                           for the next request
//
// A socket, or a client, keeps the pages themselves until it has read them: a write in the meantime
// changes what it reads. Such a write and the READ are under way at the same time, and the protocol
// gives no order between the two. Used by one thread.
#pragma once

#include <coroutine>
#include <cstdint>

#include "core/fifo.hpp"
#include "core/file.hpp"
#include "core/pipe.hpp"
#include "core/task.hpp"
#include "frontend/nbd/cached_file.hpp"
#include "ring/ring.hpp"

namespace sluice::nbd {

// A request that waits for its turn.
struct PipeTurn : FifoLink<PipeTurn> {
  std::coroutine_handle<> coroutine;
};

class ReplyPipe {
 public:
  explicit ReplyPipe(Ring& ring) : ring_(ring) {}
  // What the requests are for. Null: no READ suits.
  void use(CachedFile* file) { file_ = file; }

  // True if a READ of so many bytes may gain by it: the system calls of less cost more than copies.
  bool suits(uint64_t length) const {
    return file_ != nullptr && length >= kLeastBytes && length <= kMostBytes;
  }

  class Turn;
  Turn turn();
  // False: the bytes are not all in the page cache, or there can be no pipe; the turn is over.
  bool fill(uint64_t offset, uint32_t length);
  // Moves all bytes to the socket. ECONNRESET, EPIPE ...: the client has gone.
  Task send(Request& own, File socket, uint32_t length);
  // Ends the turn. Bytes that were not sent are discarded.
  void give_back();

 private:
  static constexpr uint32_t kLeastBytes = 32 << 10;
  static constexpr uint32_t kPageBytes = 4096;
  static constexpr uint32_t kMostBytes = CachedFile::kRangeBytesMax - kPageBytes;  // not aligned

  bool has_pipe();

  Ring& ring_;
  CachedFile* file_ = nullptr;
  Pipe pipe_;                // made for the first request
  uint32_t held_bytes_ = 0;  // in the pipe
  bool is_taken_ = false;
  Fifo<PipeTurn> waiting_;
};

class [[nodiscard]] ReplyPipe::Turn final : private PipeTurn {
 public:
  bool await_ready() const { return !std::exchange(pipe_.is_taken_, true); }
  void await_suspend(std::coroutine_handle<> waiting) {
    coroutine = waiting;
    pipe_.waiting_.push(*this);
  }
  void await_resume() const {}

 private:
  friend class ReplyPipe;
  explicit Turn(ReplyPipe& pipe) : pipe_(pipe) {}

  ReplyPipe& pipe_;
};

inline ReplyPipe::Turn ReplyPipe::turn() { return Turn(*this); }

}  // namespace sluice::nbd
