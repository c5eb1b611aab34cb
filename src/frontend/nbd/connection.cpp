#include "frontend/nbd/connection.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/log.hpp"
#include "ring/sockets.hpp"
#include "ring/timeout.hpp"
#include "target/life/life_call.hpp"

namespace sluice::nbd {
namespace {

constexpr size_t kPiece = 256 << 10;  // of a payload: that it comes shows in ConnectionProgress
constexpr size_t kInputBytes = ServerHandshake::kMessageBytesMax;
constexpr std::chrono::milliseconds kLingerTime{500};

}  // namespace

struct Connection::FreeTag {
  Connection& connection;
  bool await_ready() const {
    if (connection.free_.empty()) connection.add_tag();
    return !connection.free_.empty();
  }
  void await_suspend(std::coroutine_handle<> coroutine) const { connection.reader_ = coroutine; }
  RequestTag& await_resume() const {
    ++connection.busy_;
    return *connection.free_.pop();
  }
};

struct Connection::AllAnswered {
  Connection& connection;
  bool await_ready() const { return connection.busy_ == 0; }
  void await_suspend(std::coroutine_handle<> coroutine) const { connection.drainer_ = coroutine; }
  void await_resume() const {}
};

Connection::Connection(const Setup& setup, Descriptor socket, ConnectionListener& listener)
    : setup_(setup),
      ring_(setup.ring),
      socket_(std::move(socket)),
      file_{.number = socket_.number()},
      listener_(listener),
      handshake_(setup.exports, setup.tls),
      input_(std::make_unique_for_overwrite<std::byte[]>(kInputBytes)),
      pipe_(setup.ring, setup.pipes) {}

Connection::~Connection() {
  if (sender_) sender_.destroy();
  for (const auto& tag : tags_) {
    if (tag->coroutine) tag->coroutine.destroy();
  }
}

void Connection::stop() {
  stopping_ = true;
  if (receiving_ != nullptr) ring_.cancel(*std::exchange(receiving_, nullptr));
  wake(resting_);
}

void Connection::list_in_flight(std::vector<InFlight>& found) const {
  for (const auto& tag : tags_) tag->list_in_flight(found);
}

// --- The reader.

Service Connection::run() {
  {
    LifeRequest own(ring_);
    Status taken = kOk;
    if (pool_ == nullptr) {
      Task shaking = shake_hands(own.request);
      taken = co_await shaking;
      listener_.handshake_ended(*this);
    }
    while (taken.ok() && !stopping_) {
      Task next = pausing_ ? rest(own.request) : take_request(own.request);
      taken = co_await next;
    }
    if (taken.error() == EPROTO) log().info("an NBD client broke the protocol");
    AllAnswered answered{*this};
    co_await answered;
    Task lingering = linger(own.request);
    [[maybe_unused]] const Status lingered = co_await lingering;
  }
  listener_.ended(*this);
}

void Connection::begin_transmission() {
  pipe_.use(chosen_->cached.get());
  tags_.reserve(setup_.depth);
  send_replies();
}

void Connection::add_tag() {
  if (tags_.size() == setup_.depth) return;
  tags_.push_back(std::make_unique<RequestTag>());
  RequestTag& tag = *tags_.back();
  tag.set_up(ring_, setup_.queue, static_cast<uint16_t>(tags_.size() - 1));
  free_.push(tag);
  serve(tag);
}

// Or nothing, in a pause. Errors: ECONNRESET, ECANCELED: no more requests come; EPROTO.
Task Connection::take_request(Request& own) {
  auto header = read_request(buffered(), form_.headers);
  while (!header.is_whole()) {
    if (header.is_invalid()) co_return Status::from_errno(EPROTO);
    if (pausing_) co_return kOk;
    at_boundary_ = true;
    Task filling = fill(own, nullptr);
    const Status filled = co_await filling;
    at_boundary_ = false;
    if (filled.error() == ECANCELED && !stopping_) co_return kOk;
    if (!filled.ok()) co_return filled;
    header = read_request(buffered(), form_.headers);
  }
  begin_ += header.bytes;
  if (header.message->command == Command::disconnect) co_return Status::from_errno(ECANCELED);
  // A client that was told the limit does not send more; another one cannot be followed any more.
  if (header.message->payload_bytes(form_.headers) > kDefaultPayloadMax) {
    co_return Status::from_errno(EPROTO);
  }
  FreeTag waiting{*this};
  RequestTag& tag = co_await waiting;
  tag.asked = *header.message;
  Task receiving = receive(own, tag);
  const Status received = co_await receiving;
  if (received.ok()) {
    wake(tag.coroutine);
  } else {
    release(tag);
  }
  co_return received;
}

// Takes the memory that the request needs, and its payload, which belongs to no request otherwise.
Task Connection::receive(Request& own, RequestTag& tag) {
  const uint64_t payload = tag.asked.payload_bytes(form_.headers);
  tag.length = tag.asked.length;
  tag.contexts = all_contexts(form_);
  const bool is_query = tag.asked.command == Command::block_status && payload != 0;
  if (is_query && payload <= kQueryBytesMax) {
    Task receiving = receive_query(own, tag, payload);
    if (const Status received = co_await receiving; !received.ok()) co_return received;
  }
  tag.refusal = plan(tag);
  if (const size_t room = tag.refusal == 0 ? room_for(tag) : 0; room != 0) {
    auto taking = pool_->take(ring_.ready(), room);
    tag.pages = co_await taking;
  }
  if (payload == 0 || (is_query && payload <= kQueryBytesMax)) co_return kOk;
  if (tag.refusal == 0) {
    Task receiving = receive_payload(own, {tag.memory().data, payload});
    co_return co_await receiving;
  }
  Task skipping = skip(own, payload);
  co_return co_await skipping;
}

// A range and the contexts that are asked for. Each must be one of ours, once.
Task Connection::receive_query(Request& own, RequestTag& tag, size_t bytes) {
  std::array<std::byte, kQueryBytesMax> query{};
  Task receiving = receive_payload(own, std::span(query).first(bytes));
  if (const Status received = co_await receiving; !received.ok()) co_return received;
  Reader reader(std::span(query).first(bytes));
  tag.length = reader.number<uint64_t>();
  tag.contexts = read_contexts(form_, reader);
  co_return kOk;
}

Task Connection::receive_payload(Request& own, std::span<std::byte> memory) {
  const size_t here = std::min(memory.size(), end_ - begin_);
  std::memcpy(memory.data(), input_.get() + begin_, here);
  begin_ += here;
  memory = memory.subspan(here);
  while (tls_ && !memory.empty()) {
    size_t received = 0;
    Task receiving = receive_some(own, memory, received, nullptr);
    if (const Status status = co_await receiving; !status.ok()) co_return status;
    memory = memory.subspan(received);
  }
  while (!memory.empty()) {
    auto receiving = sockets::recv_all(ring_, file_, memory.first(std::min(memory.size(), kPiece)));
    receiving_ = &receiving;
    const Status received = co_await receiving;
    receiving_ = nullptr;
    if (!received.ok()) co_return received;
    ++progress_.pieces;
    memory = memory.subspan(receiving.moved_bytes());
  }
  co_return kOk;
}

// A socket that is closed while it has unread input loses what is on its way to the client:
// replies, and the alert that says why its certificate is refused.
Task Connection::linger(Request& own) {
  if (broken_ || left_) co_return kOk;
  if (tls_) {
    tls_->close();
    tls_.reset();  // what still comes is of no use
    fcntl(socket_.number(), F_SETFL, fcntl(socket_.number(), F_GETFL) & ~O_NONBLOCK);
  }
  shutdown(socket_.number(), SHUT_WR);
  Timeout limit(ring_, kLingerTime);
  Status filled = kOk;
  while (filled.ok()) {
    begin_ = end_ = 0;
    Task filling = fill(own, &limit);
    filled = co_await filling;
  }
  co_return kOk;
}

Task Connection::skip(Request& own, uint64_t bytes) {
  while (true) {
    const uint64_t here = std::min<uint64_t>(bytes, end_ - begin_);
    begin_ += here;
    bytes -= here;
    if (bytes == 0) co_return kOk;
    Task filling = fill(own, nullptr);
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
  }
}

// Receives at least one byte more.
Task Connection::fill(Request& own, Timeout* limit) {
  std::memmove(input_.get(), input_.get() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  size_t received = 0;
  Task receiving = receive_some(own, {input_.get() + end_, kInputBytes - end_}, received, limit);
  if (const Status status = co_await receiving; !status.ok()) co_return status;
  end_ += received;
  co_return kOk;
}

// ECONNRESET: the client has closed.
Task Connection::receive_some(Request& own, std::span<std::byte> room, size_t& received,
                              Timeout* limit) {
  if (tls_) {
    Task receiving = tls_->receive(
        own, {.ring = ring_, .limit = limit, .pending = stopping_ ? nullptr : &receiving_}, room,
        received);
    const Status status = co_await receiving;
    co_return status.ok() && received == 0 ? Status::from_errno(ECONNRESET) : status;
  }
  int32_t result = -EINTR;
  while (result == -EINTR || result == -EAGAIN) {
    auto receiving = sockets::recv_some(ring_, file_, room);
    if (!stopping_) receiving_ = &receiving;
    if (limit != nullptr) {
      auto limited = limit->limit(receiving);
      result = co_await limited;
    } else {
      result = co_await receiving;
    }
    receiving_ = nullptr;
    if (at_boundary_ && pausing_ && result < 0) result = -ECANCELED;  // or -EINTR, the same
  }
  received = static_cast<size_t>(std::max(result, 0));
  co_return result == 0 ? Status::from_errno(ECONNRESET) : Status::from_result(result);
}

// --- The sender.

Service Connection::send_replies() {
  LifeRequest own(ring_);
  while (true) {
    if (answered_.empty()) {
      Idle idle{sender_};
      co_await idle;
    }
    const size_t count = gather_replies();
    if (!broken_) {
      Task sending = send_batch(own.request, batch_[count - 1]->piped_bytes);
      if (const Status sent = co_await sending; !sent.ok()) give_up();
    }
    for (RequestTag* const tag : std::span(batch_).first(count)) release(*tag);
  }
}

// The replies in batch_. The last one may have its data in the pipe.
Task Connection::send_batch(Request& own, uint32_t piped_bytes) {
  const int more = piped_bytes != 0 ? MSG_MORE : 0;
  Task sending = send(own, std::span(pieces_).first(pieces_used_), nullptr, more);
  const Status sent = co_await sending;
  if (!sent.ok() || piped_bytes == 0) co_return sent;
  Task piping = pipe_.send(own, file_, piped_bytes);
  co_return co_await piping;
}

// The only place that writes to the socket, beside the pipe.
Task Connection::send(Request& own, std::span<iovec> pieces, Timeout* limit, int message_flags) {
  if (tls_) {
    Task sending = tls_->send(own, {.ring = ring_, .limit = limit}, pieces);
    co_return co_await sending;
  }
  sockets::GatherSend sending(ring_, file_, pieces, message_flags);
  if (limit == nullptr) {
    progress_.sending = &sending;
    const Status sent = co_await sending;
    progress_.sending = nullptr;
    ++progress_.pieces;
    co_return sent;
  }
  auto limited = limit->limit(sending);
  co_return co_await limited;
}

// Fills batch_ and pieces_; returns the number of replies.
size_t Connection::gather_replies() {
  size_t count = 0;
  pieces_used_ = 0;
  while (count < kRepliesAtOnce && !answered_.empty()) {
    RequestTag* const tag = answered_.pop();
    batch_[count++] = tag;
    pieces_used_ += tag->pieces(std::span(pieces_).subspan(pieces_used_));
    if (tag->piped_bytes != 0) break;
  }
  return count;
}

// Nobody reads the replies.
void Connection::give_up() {
  broken_ = true;
  shutdown(socket_.number(), SHUT_RDWR);
}

void Connection::release(RequestTag& tag) {
  tag.pages.drop();
  if (std::exchange(tag.piped_bytes, 0) != 0) pipe_.give_back();
  free_.push(tag);
  --busy_;
  wake(reader_);
  if (busy_ == 0) wake(drainer_);
}

}  // namespace sluice::nbd
