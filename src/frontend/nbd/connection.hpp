// Connection: one NBD client, from its handshake to its end.
//
// A reader takes requests off the socket while there are free tags; a coroutine for each tag serves
// one at a time; a sender sends the replies that are ready, many with one call. Tags and the memory
// for data belong to the connection, so that a client that does not read its replies delays no
// other. An error of the protocol ends the connection: where it was, nobody knows what follows.
//
// Used by its ring's thread only. It reports its end, and is destroyed then.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/descriptor.hpp"
#include "core/fifo.hpp"
#include "core/idle.hpp"
#include "core/page_pool.hpp"
#include "frontend/nbd/offered_exports.hpp"
#include "frontend/nbd/reply_pipe.hpp"
#include "frontend/nbd/request_tag.hpp"
#include "nbd/server_handshake.hpp"
#include "reactor/queue_counters.hpp"
#include "ring/ring.hpp"
#include "tls/stream.hpp"

namespace sluice::nbd {

class Connection;

class ConnectionListener {
 public:
  // The handshake is over, well or not. Once.
  virtual void handshake_ended(Connection& connection) = 0;
  // The connection has ended, and may be destroyed.
  virtual void ended(Connection& connection) = 0;

 protected:
  ~ConnectionListener() = default;
};

class Connection final {
 public:
  struct Setup {
    uint16_t queue = 0;
    uint16_t depth = 0;  // requests at a time
    Ring& ring;
    const OfferedExports& exports;
    QueueCounters& counters;
    TlsPolicy tls = TlsPolicy::none;
    std::shared_ptr<const tls::Credentials> credentials{};  // null: no TLS
  };

  Connection(const Setup& setup, Descriptor socket, ConnectionListener& listener);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  void begin() { run(); }
  // Takes no more requests, and ends when those that it has are answered.
  void stop();
  // Ends although the client does not take the replies.
  void give_up();
  // The client has chosen the export, and may send requests.
  bool has_agreed() const { return handshake_.state() == ServerHandshake::State::transmission; }
  void list_in_flight(std::vector<InFlight>& found) const;

 private:
  struct FreeTag;
  struct AllAnswered;
  static constexpr size_t kRepliesAtOnce = 32;
  static constexpr size_t kQueryBytesMax = 512;  // the payload of a block status request
  static constexpr size_t kInputBytes = ServerHandshake::kMessageBytesMax;

  // --- The reader.
  Service run();
  Task shake_hands(Request& own);
  Task start_tls(Request& own, Timeout& limit);
  Task send(Request& own, std::span<iovec> pieces, Timeout* limit, int message_flags = 0);
  bool prepare_transmission();
  Task take_request(Request& own);
  Task receive(Request& own, RequestTag& tag);
  Task receive_query(Request& own, RequestTag& tag, size_t bytes);
  Task receive_payload(Request& own, std::span<std::byte> memory);
  Task receive_some(Request& own, std::span<std::byte> room, size_t& received, Timeout* limit);
  Task linger(Request& own);
  Task skip(Request& own, uint64_t bytes);
  Task fill(Request& own, Timeout* limit);
  Bytes buffered() const { return {input_.get() + begin_, end_ - begin_}; }

  // --- The tags.
  void add_tag();
  Service serve(RequestTag& tag);
  int plan(const RequestTag& tag) const;
  size_t room_for(const RequestTag& tag) const;
  void decode(const RequestTag& tag, Request& request) const;
  Task perform(Request& request, RequestTag& tag);
  Task read(Request& request, RequestTag& tag);
  Task trim(Request& request, RequestTag& tag);
  Task prefetch(Request& request);
  Task block_status(Request& request, RequestTag& tag);
  void release(RequestTag& tag);

  // --- The sender.
  Service send_replies();
  Task send_batch(Request& own, uint32_t piped_bytes);
  size_t gather_replies();
  void wake(std::coroutine_handle<>& place) { sluice::wake(ring_.ready(), place); }

  const Setup setup_;
  Ring& ring_;
  const Descriptor socket_;
  const File file_;
  std::unique_ptr<tls::Stream> tls_;  // on the socket; null: plaintext
  ConnectionListener& listener_;
  ServerHandshake handshake_;

  // Of the transmission.
  ReplyForm form_;
  const OfferedExport* chosen_ = nullptr;
  uint64_t size_ = 0;  // of the export, as it was when the client chose it
  std::unique_ptr<PagePool> pool_;
  std::vector<std::unique_ptr<RequestTag>> tags_;  // as many as the client has needed
  Fifo<RequestTag> free_;
  uint16_t busy_ = 0;  // tags

  std::unique_ptr<std::byte[]> input_;  // received, from begin_ to end_
  size_t begin_ = 0;
  size_t end_ = 0;

  Fifo<RequestTag> answered_;  // to be sent
  std::array<RequestTag*, kRepliesAtOnce> batch_{};
  std::array<iovec, 2 * kRepliesAtOnce> pieces_{};
  size_t pieces_used_ = 0;
  ReplyPipe pipe_;

  std::coroutine_handle<> reader_;   // waits for a free tag
  std::coroutine_handle<> drainer_;  // waits until all requests are answered
  std::coroutine_handle<> sender_;   // waits for replies
  Completion* receiving_ = nullptr;  // what stop() cancels
  bool stopping_ = false;
  bool broken_ = false;  // nothing can be sent any more
};

}  // namespace sluice::nbd
