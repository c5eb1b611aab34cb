// Connection: a client's connection to an NBD server, which outlives its sockets.
//
// A sender sends the calls that have come, the headers of many at once; a receiver takes the
// answers. When the socket is lost, both end; the connection then connects again, to the same or to
// the next server, and repeats every call that had no answer. Nothing is repeated before the former
// socket is shut and both have ended, so that no byte of its answers can reach the pages later.
//
// Used by its ring's thread only, except where another is named.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/fifo.hpp"
#include "core/idle.hpp"
#include "nbd/reply.hpp"
#include "ring/ring.hpp"
#include "target/life/life_call.hpp"
#include "target/nbd/call_table.hpp"
#include "target/nbd/end_watch.hpp"
#include "target/nbd/outgoing.hpp"
#include "target/nbd/read_piece.hpp"
#include "target/nbd/remote.hpp"
#include "target/nbd/session.hpp"

namespace sluice::nbd::client {

class Connection final {
 public:
  using Siblings = std::vector<std::unique_ptr<Connection>>;

  // `siblings`: the connections of the ring, which take over calls that would fail here. Null: a
  // lost session is not restored.
  Connection(Ring& ring, Remote& remote, Session session, const Siblings* siblings);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  void begin() { run(); }
  void submit(Call& call);
  // Counts a call of another ring that is posted here, until its answer. Any thread.
  void expect_foreign() { foreign_.fetch_add(1, std::memory_order_relaxed); }
  // Waits for the calls of other rings, of which no more are posted.
  Task drain(Request& own);
  // Ends it. No call is in flight. The session may be used on another ring if it is valid.
  Task close(Request& own, Session& session);

  uint32_t in_flight() const { return calls_.size() + waiting_; }
  bool is_usable() const { return !broken_ && !gave_up_; }
  Ring& ring() const { return ring_; }

 private:
  friend class EndWatch;
  using Clock = std::chrono::steady_clock;

  static constexpr size_t kInputBytes = 64 << 10;

  Service run();
  void break_off(std::string why);
  void break_off(Status status);
  void take_back();
  void part_ended();
  void answer(Call& call, Status status);
  void pass_on_waiting();
  void wake(std::coroutine_handle<>& place) { sluice::wake(ring_.ready(), place); }

  // --- The sender.
  Service send();
  Task send_some(Request& own);
  void admit(Call& call, Clock::time_point now);
  Task send_batch(Request& own, bool more);
  Task copy_out(Request& own, Call& call, std::span<std::byte> place);
  Task send_payload(Request& own, Call& call);
  Task encrypt_payload(Request& own, Call& call);

  // --- The receiver: connection_answers.cpp.
  Service receive();
  Task take_answer(Request& own);
  Task copy_pieces(Request& own);
  Task copy_in(Request& own, ReadPiece piece);
  Task take_simple(Request& own, Call& call, const ReplyHeader& reply);
  Task take_chunk(Request& own, Call& call, const ReplyHeader& reply);
  Task take_data(Request& own, Call& call, const ChunkHead& head);
  Task take_hole(Request& own, Call& call, const ChunkHead& head);
  Task take_extents(Request& own, Call& call, const ReplyHeader& reply, const ChunkHead& head);
  Task take_bytes(Request& own, Call& call, uint64_t offset, uint64_t length);
  Task skip(Request& own, uint64_t bytes);
  Task fill(Request& own, size_t wanted);
  Task receive_some(Request& own, std::span<std::byte> room, size_t& received);
  Status place(Call& call, const ChunkHead& part);
  Status protest(std::string why);
  void finish(Call& call);
  bool is_silent() const;
  bool starves_one(Clock::time_point now);
  std::chrono::nanoseconds patience(const Call& call) const;
  Bytes buffered() const { return {input_.get() + begin_, end_ - begin_}; }

  // --- After a loss: connection_restore.cpp.
  Task restore(Request& own);
  Task try_servers(Request& own);
  std::chrono::nanoseconds trouble() const;
  Task pause(Request& own, std::chrono::nanoseconds duration);

  Ring& ring_;
  Remote& remote_;
  const std::chrono::nanoseconds tick_;  // between looks for overdue calls
  Session session_;
  File file_;
  Headers headers_ = Headers::simple;
  Dialler dialler_;

  const Siblings* const siblings_;
  uint64_t epoch_ = 0;  // of the session
  Fifo<Call> to_send_;
  uint32_t waiting_ = 0;  // in to_send_
  CallTable calls_;       // that the server has
  std::atomic<uint32_t> foreign_ = 0;
  Outgoing outgoing_;

  std::unique_ptr<std::byte[]> input_;  // received, from begin_ to end_
  size_t begin_ = 0, end_ = 0;

  std::coroutine_handle<> sender_;      // waits for calls, or for slots
  std::coroutine_handle<> supervisor_;  // waits for the end of sender and receiver
  std::coroutine_handle<> closer_;      // waits for the end of all
  std::coroutine_handle<> drainer_;     // waits for calls of other rings
  Clock::time_point session_began_{};
  int short_sessions_ = 0;               // in a row
  Clock::time_point trouble_since_{};    // the first loss since a call was answered
  std::chrono::nanoseconds silence_{};   // since the last byte, in ticks
  Clock::time_point next_look_{};        // for a call that starves
  Clock::time_point latest_answered_{};  // when the latest call with an answer was sent

  Completion *receiving_ = nullptr, *pausing_ = nullptr;  // what close() cancels
  int parts_ = 0;                                         // sender and receiver
  bool broken_ = false, gave_up_ = false;  // the socket is lost; calls fail instead of waiting
  uint32_t repeated_ = 0;                  // calls, since the last loss
  bool repeats_changes_ = false, closing_ = false, ended_ = false;
  EndWatch end_watch_{*this};
  std::string why_;  // it is broken
};

}  // namespace sluice::nbd::client
