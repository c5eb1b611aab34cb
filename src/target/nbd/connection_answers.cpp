// Connection: the answers of the server. Whatever it sends, no call is ended by the answer to
// another, and no read without all of its data.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/extents.hpp"
#include "core/gather.hpp"
#include "core/log.hpp"
#include "core/recent_time.hpp"
#include "ring/sockets.hpp"
#include "ring/timeout.hpp"
#include "target/nbd/connection.hpp"

namespace sluice::nbd::client {
namespace {

// The server ends soon: its other answers are not worth waiting for.
constexpr int kServerEnds = ESHUTDOWN;
constexpr size_t kPiecesAtOnce = 32;
constexpr int kLongestAnswer = 10;  // in times of what is waited for a word

// Up to the data of a read. Of a shorter answer, and what follows it, no more is a header.
size_t head_bytes_of(Headers headers) {
  const bool is_simple = headers == Headers::simple;
  return reply_bytes(is_simple, headers) +
         (is_simple ? 0 : chunk_head_bytes(ChunkType::offset_data));
}

}  // namespace

Service Connection::receive() {
  {
    LifeRequest own(ring_);
    Status taken;
    while (taken.ok() && !broken_) {
      Task taking = take_answer(own.request);
      taken = co_await taking;
    }
    if (!taken.ok() && !(closing_ && taken.error() == ECANCELED)) break_off(taken);
  }
  part_ended();
}

Task Connection::take_answer(Request& own) {
  auto reply = read_reply(buffered(), headers_, kDefaultPayloadMax);
  while (!reply.is_whole()) {
    if (reply.is_invalid()) co_return protest(std::move(reply.why));
    Task filling = fill(own, std::max(reply.bytes, head_bytes_of(headers_)));
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
    reply = read_reply(buffered(), headers_, kDefaultPayloadMax);
  }
  if (whole_read_piece(buffered(), headers_, calls_)) {
    Task copying = copy_pieces(own);
    co_return co_await copying;
  }
  begin_ += reply.bytes;
  const ReplyHeader header = *reply.message;
  Call* const call = calls_.find(header.cookie);
  if (call == nullptr) co_return protest("it answers a request that was not made");
  Task taking = header.is_simple ? take_simple(own, *call, header) : take_chunk(own, *call, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  if (header.is_last()) finish(*call);
  co_return kOk;
}

// The data of all reads that is there, at the same time: a copy to pages without an address is an
// operation.
Task Connection::copy_pieces(Request& own) {
  Gather copies(own, kPiecesAtOnce);
  Status placed;
  for (size_t i = 0; i < kPiecesAtOnce; ++i) {
    const auto piece = whole_read_piece(buffered(), headers_, calls_);
    if (!piece) break;
    placed = place(*piece->call, piece->place);
    if (!placed.ok()) break;
    begin_ += piece->bytes;
    ++piece->call->copies_;
    piece->call->answered_ = piece->is_last;
    copies.add(copy_in(own, *piece));
  }
  [[maybe_unused]] const Status copied = co_await copies;
  co_return placed;
}

Task Connection::copy_in(Request& own, ReadPiece piece) {
  Call& call = *piece.call;
  const auto begin = static_cast<uint32_t>(piece.place.offset - call.header.offset);
  const auto length = static_cast<uint32_t>(piece.data.size());
  {
    auto copying = ring_.copy_in(call.data.slice(begin, length, *own.arena), piece.data);
    const Status copied = co_await copying;
    if (!copied.ok() && call.error_ == 0) call.error_ = copied.error();
  }
  remote_.copied_bytes.fetch_add(length, std::memory_order_relaxed);
  --call.copies_;
  if (call.answered_) finish(call);
  co_return kOk;
}

Status Connection::protest(std::string why) {
  why_ = std::move(why);
  return Status::from_errno(EPROTO);
}

// The answer is complete.
void Connection::finish(Call& call) {
  call.answered_ = true;
  // A server may answer before it has read everything.
  if (call.sending_ || call.copies_ != 0) return;
  latest_answered_ = std::max(latest_answered_, call.sent_at_);
  calls_.remove(call);
  trouble_since_ = {};
  int error = call.error_;
  if (error == 0 && call.header.command == Command::read && !call.is_covered()) {
    log().error("an NBD server left a gap in the answer to a read at byte {}", call.header.offset);
    error = EIO;
  }
  const bool may_be_cached = call.changes_data() && (call.header.flags & kFua) == 0;
  if (error == 0 && may_be_cached && remote_.geometry().volatile_cache) remote_.count_write();
  wake(sender_);
  answer(call, Status::from_errno(error));
}

Task Connection::take_simple(Request& own, Call& call, const ReplyHeader& reply) {
  const int error = from_wire_error(reply.error);
  if (error == kServerEnds) co_return Status::from_errno(ECONNRESET);
  call.error_ = error;
  if (error != 0 || call.header.command != Command::read) co_return kOk;
  if (headers_ != Headers::simple) {
    co_return protest("it answers a read without the structure that was agreed on");
  }
  Task taking = take_bytes(own, call, 0, call.header.length);
  co_return co_await taking;
}

Task Connection::take_chunk(Request& own, Call& call, const ReplyHeader& reply) {
  if (headers_ == Headers::extended && reply.offset != call.header.offset) {
    co_return protest("it answers for another place than it was asked for");
  }
  const size_t head_bytes = chunk_head_bytes(reply.type);
  while (buffered().size() < head_bytes) {
    Task filling = fill(own, head_bytes);
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
  }
  auto parsed = read_chunk_head(buffered().first(head_bytes), reply);
  if (!parsed.is_whole()) co_return protest(std::move(parsed.why));
  begin_ += head_bytes;
  const ChunkHead head = *parsed.message;
  switch (reply.type) {
    case ChunkType::none:
      co_return kOk;
    case ChunkType::offset_data: {
      Task taking = take_data(own, call, head);
      co_return co_await taking;
    }
    case ChunkType::offset_hole: {
      Task taking = take_hole(own, call, head);
      co_return co_await taking;
    }
    case ChunkType::block_status:
    case ChunkType::block_status_extended: {
      Task taking = take_extents(own, call, reply, head);
      co_return co_await taking;
    }
    default:
      break;
  }
  if (!is_error(reply.type)) {
    co_return protest(
        fmt::format("it sends a chunk of the unknown type {}", static_cast<uint16_t>(reply.type)));
  }
  const int error = from_wire_error(head.error);
  if (error == kServerEnds) co_return Status::from_errno(ECONNRESET);
  if (call.error_ != 0 && !reply.is_last()) co_return protest("it sends errors without an end");
  if (call.error_ == 0) call.error_ = error;
  Task skipping = skip(own, chunk_rest_bytes(reply));
  co_return co_await skipping;
}

Task Connection::take_data(Request& own, Call& call, const ChunkHead& head) {
  if (const Status placed = place(call, head); !placed.ok()) co_return placed;
  Task taking = take_bytes(own, call, head.offset - call.header.offset, head.length);
  co_return co_await taking;
}

Task Connection::take_hole(Request& own, Call& call, const ChunkHead& head) {
  if (const Status placed = place(call, head); !placed.ok()) co_return placed;
  auto clearing =
      ring_.zero(call.data.slice(static_cast<uint32_t>(head.offset - call.header.offset),
                                 static_cast<uint32_t>(head.length), *own.arena));
  const Status cleared = co_await clearing;
  if (!cleared.ok() && call.error_ == 0) call.error_ = cleared.error();
  co_return kOk;
}

// A part of a READ belongs to its range, and comes once.
Status Connection::place(Call& call, const ChunkHead& part) {
  const RequestHeader& asked = call.header;
  const bool fits = asked.command == Command::read && part.offset >= asked.offset &&
                    part.length <= asked.length &&
                    part.offset - asked.offset <= asked.length - part.length;
  if (!fits) return protest("it sends data that was not asked for");
  if (call.cover(part.offset - asked.offset, part.length)) return kOk;
  return protest("it sends some data twice, or all of it in crumbs");
}

// Extents that make no sense end the list: what is not known counts as data.
Task Connection::take_extents(Request& own, Call& call, const ReplyHeader& reply,
                              const ChunkHead& head) {
  if (call.header.command != Command::block_status) {
    co_return protest("it sends block status that was not asked for");
  }
  if (std::exchange(call.has_extents_, true)) co_return protest("it sends block status twice");
  const size_t each = status_extent_bytes(headers_);
  bool is_known = head.context == session_.agreed.allocation_context;
  uint64_t left = chunk_rest_bytes(reply);
  while (left >= each) {
    while (buffered().size() < each) {
      Task filling = fill(own, std::min<uint64_t>(left, kInputBytes));
      if (const Status filled = co_await filling; !filled.ok()) co_return filled;
    }
    const StatusExtent extent = read_status_extent(buffered().first(each), headers_);
    begin_ += each;
    left -= each;
    is_known = is_known && extent.length != 0;
    if (!is_known) continue;
    const bool hole = (extent.flags & kHole) != 0;
    const bool zero = (extent.flags & kZero) != 0;
    is_known = call.extents->add(extent.length,
                                 {.hole = hole,
                                  .zero = zero,
                                  .allocated = !hole || zero,
                                  .place = call.header.offset + call.extents->covered_bytes()});
  }
  Task skipping = skip(own, left);
  co_return co_await skipping;
}

// Into the pages of the call: what has come already is copied, the rest is received there, or,
// under TLS, copied as it comes.
Task Connection::take_bytes(Request& own, Call& call, uint64_t offset, uint64_t length) {
  auto begin = static_cast<uint32_t>(offset);
  auto left = static_cast<uint32_t>(length);
  if (headers_ == Headers::simple) call.cover(offset, length);
  while (true) {
    const auto here = static_cast<uint32_t>(std::min<uint64_t>(left, end_ - begin_));
    if (here != 0) {
      auto copying =
          ring_.copy_in(call.data.slice(begin, here, *own.arena), buffered().first(here));
      const Status copied = co_await copying;
      if (!copied.ok() && call.error_ == 0) call.error_ = copied.error();
      begin_ += here;
      begin += here;
      left -= here;
      remote_.copied_bytes.fetch_add(here, std::memory_order_relaxed);
    }
    if (left == 0) co_return kOk;
    if (!session_.tls) break;
    Task filling = fill(own, std::min<size_t>(left, kInputBytes));
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
  }
  Timeout limit(ring_, remote_.options().timeout, recent_time());
  auto receiving = ring_.recv(file_, call.data.slice(begin, left, *own.arena));
  auto limited = limit.limit(receiving);
  const Status received = co_await limited;
  remote_.direct_bytes.fetch_add(left, std::memory_order_relaxed);
  end_watch_.note_word();
  co_return received;
}

Task Connection::skip(Request& own, uint64_t bytes) {
  while (bytes != 0) {
    const uint64_t here = std::min<uint64_t>(bytes, end_ - begin_);
    begin_ += here;
    bytes -= here;
    if (bytes == 0) break;
    Task filling = fill(own, std::min<uint64_t>(bytes, kInputBytes));
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
  }
  co_return kOk;
}

// Receives more, so that `wanted` bytes may be there. While large reads are under way no more than
// that is taken, so that their data goes straight to its pages.
Task Connection::fill(Request& own, size_t wanted) {
  std::memmove(input_.get(), input_.get() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  const size_t room =
      calls_.large_reads() != 0 && !session_.tls ? wanted - end_ : kInputBytes - end_;
  while (!closing_ && !broken_) {
    size_t received = 0;
    Task receiving = receive_some(own, {input_.get() + end_, room}, received);
    const Status status = co_await receiving;
    if (status.error() == ETIMEDOUT) {
      silence_ += tick_;
      if (!is_silent()) continue;
    }
    if (!status.ok()) co_return status;
    if (received == 0) co_return Status::from_errno(ECONNRESET);
    silence_ = {};
    end_watch_.note_word();
    end_ += received;
    co_return Status::from_errno(starves_one(recent_time()) ? ETIMEDOUT : 0);
  }
  co_return Status::from_errno(closing_ ? ECANCELED : ECONNRESET);
}

// Waits for one tick.
Task Connection::receive_some(Request& own, std::span<std::byte> room, size_t& received) {
  Timeout limit(ring_, tick_, recent_time());
  if (session_.tls) {
    Task receiving = session_.tls->receive(
        own, {.ring = ring_, .limit = &limit, .pending = &receiving_}, room, received);
    const Status status = co_await receiving;
    co_return status.error() == EPROTO ? protest("TLS: " + session_.tls->why()) : status;
  }
  auto receiving = sockets::recv_some(ring_, file_, room);
  receiving_ = &receiving;
  auto limited = limit.limit(receiving);
  const int32_t result = co_await limited;
  receiving_ = nullptr;
  received = static_cast<size_t>(std::max(result, 0));
  co_return result == -EINTR ? Status::from_errno(ETIMEDOUT) : Status::from_result(result);
}

// Nothing comes, although calls wait. A slow server that sends something is waited for.
bool Connection::is_silent() const {
  const Clock::time_point now = recent_time();
  return std::ranges::any_of(calls_.slots(), [&](const Call* call) {
    return call != nullptr && silence_ >= patience(*call) &&
           now - call->sent_at_ >= patience(*call);
  });
}

// Calls are answered that were sent much later than another one, or this one never ends.
bool Connection::starves_one(Clock::time_point now) {
  if (now < next_look_) return false;
  next_look_ = now + tick_;
  return std::ranges::any_of(calls_.slots(), [&](const Call* call) {
    return call != nullptr && (latest_answered_ - call->sent_at_ > patience(*call) ||
                               now - call->sent_at_ > kLongestAnswer * patience(*call));
  });
}

// A disk may take longer to write back a cache than to answer anything else.
std::chrono::nanoseconds Connection::patience(const Call& call) const {
  const Options& options = remote_.options();
  const bool flushes = call.header.command == Command::flush;
  return flushes ? std::max(options.timeout, options.reconnect) : options.timeout;
}

}  // namespace sluice::nbd::client
