// Connection: one NBD client, from its handshake to its end.
//
// A reader takes requests off the socket while there are free tags; a coroutine for each tag serves
// one at a time; a sender sends the replies that are ready, many with one call. Tags and the memory
// for data belong to the connection, so that a client that does not read its replies delays no
// other. An error of the protocol ends the connection: where it was, nobody knows what follows.
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
#include "frontend/nbd/client_state.hpp"
#include "frontend/nbd/connection_setup.hpp"
#include "frontend/nbd/reply_pipe.hpp"
#include "frontend/nbd/request_tag.hpp"
#include "tls/stream.hpp"

namespace sluice::nbd {

class Connection final {
 public:
  using Setup = ConnectionSetup;

  static Result<std::unique_ptr<PagePool>> make_pool();  // on any thread

  Connection(const Setup& setup, Descriptor socket, ConnectionListener& listener);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  void begin() { run(); }
  // The same, after the handshake that it has had with another server. Once, instead of begin().
  void go_on(HandedClient client);
  // Takes no more requests, and ends when those that it has are answered.
  void stop();
  // Ends although the client does not take the replies.
  void give_up();
  // The client has chosen the export, and may send requests.
  bool has_agreed() const { return pool_ != nullptr; }

  // --- Handover. Takes no more requests. When all are answered, the listener is told, and nothing
  // is under way on the socket; but a connection with TLS ends.
  void pause();
  // Gives the client up if the pause has waited for it at the last call, too.
  void hurry();
  void resume();
  // In a pause; only a reading call, which any one thread may make.
  ClientState state() const;
  int socket() const { return socket_.number(); }
  // In a pause: ends, and leaves the socket as it is to another server.
  void leave();

  void list_in_flight(std::vector<InFlight>& found) const;

 private:
  struct FreeTag;
  struct AllAnswered;
  static constexpr size_t kRepliesAtOnce = 32;

  // --- The reader.
  Service run();
  Task shake_hands(Request& own);
  Task wait_for_message(Request& own, Timeout& limit);
  Task start_tls(Request& own, Timeout& limit);
  Task send(Request& own, std::span<iovec> pieces, Timeout* limit, int message_flags = 0);
  bool prepare_transmission();
  void begin_transmission();
  Task take_request(Request& own);
  Task rest(Request& own);
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
  uint64_t size_ = 0;   // of the export, as it was when the client chose it
  uint16_t flags_ = 0;  // so, too
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
  bool at_boundary_ = false;         // receives what a pause need not wait for
  bool stopping_ = false;
  bool broken_ = false;  // nothing can be sent any more

  std::coroutine_handle<> resting_;  // the reader, in a pause
  bool pausing_ = false;
  ConnectionProgress progress_;
  bool left_ = false;  // to another server
};

}  // namespace sluice::nbd
