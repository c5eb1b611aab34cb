// ReplyPipe: the way of large READs of one connection from the page cache to its socket, by splice.
//
//   if (pipe.suits(offset, length)) {
//     auto turn = pipe.turn();                  one request at a time
//     const bool waited = co_await turn;
//     if (pipe.fill(offset, length, waited)) ...      all bytes are in hand: the reply may begin
//   Task sending = pipe.send(own, socket, length);
//   pipe.give_back();                           for the next request
//
// A socket, or a client, keeps the pages themselves until it has read them: a write in the meantime
// changes what it reads. Such a write and the READ are under way at the same time, and the protocol
// gives no order between the two. Used by one thread.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/fifo.hpp"
#include "core/file.hpp"
#include "core/pipe.hpp"
#include "core/task.hpp"
#include "frontend/nbd/cached_file.hpp"
#include "frontend/nbd/pipe_stock.hpp"
#include "ring/ring.hpp"

namespace sluice::nbd {

// A request that waits for its turn.
struct PipeTurn : FifoLink<PipeTurn> {
  std::coroutine_handle<> coroutine;
};

class ReplyPipe {
 public:
  ReplyPipe(Ring& ring, PipeStock& stock) : ring_(ring), stock_(stock) {}
  // What the requests are for. Null: no READ suits.
  void use(CachedFile* file) { file_ = file; }

  // True if a READ may gain by it: the system calls of less cost more than copies, and all bytes
  // are in the page cache now.
  bool suits(uint64_t offset, uint64_t length) {
    return file_ != nullptr && length >= kLeastBytes && length <= kMostBytes &&
           file_->has(offset, static_cast<uint32_t>(length));
  }

  class Turn;
  Turn turn();
  // False: the bytes are not in the page cache any more, or no pipe is free; the turn is over.
  // `look_again`: time has passed since suits().
  bool fill(uint64_t offset, uint32_t length, bool look_again);
  // Moves all bytes to the socket. ECONNRESET, EPIPE ...: the client has gone.
  Task send(Request& own, File socket, uint32_t length);
  // Ends the turn. Bytes that were not sent are discarded.
  void give_back();
  uint32_t held_bytes() const { return held_bytes_; }

 private:
  static constexpr uint32_t kLeastBytes = 32 << 10;
  static constexpr uint32_t kPageBytes = 4096;
  static constexpr uint32_t kMostBytes = CachedFile::kRangeBytesMax - kPageBytes;  // not aligned

  Ring& ring_;
  PipeStock& stock_;
  CachedFile* file_ = nullptr;
  std::optional<Pipe> pipe_;  // in a turn, once it is filled
  uint32_t held_bytes_ = 0;   // in the pipe
  bool is_taken_ = false;
  Fifo<PipeTurn> waiting_;
};

class [[nodiscard]] ReplyPipe::Turn final : private PipeTurn {
 public:
  bool await_ready() const { return !std::exchange(pipe_.is_taken_, true); }
  void await_suspend(std::coroutine_handle<> waiting) {
    waited_ = true;
    coroutine = waiting;
    pipe_.waiting_.push(*this);
  }
  bool await_resume() const { return waited_; }

 private:
  friend class ReplyPipe;
  explicit Turn(ReplyPipe& pipe) : pipe_(pipe) {}

  ReplyPipe& pipe_;
  bool waited_ = false;
};

inline ReplyPipe::Turn ReplyPipe::turn() { return Turn(*this); }

}  // namespace sluice::nbd
