#include "target/nbd/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/extents.hpp"
#include "core/gather.hpp"
#include "core/recent_time.hpp"
#include "ring/sockets.hpp"
#include "ring/timeout.hpp"

namespace sluice::nbd::client {

using std::chrono::milliseconds;

namespace {

constexpr uint32_t kStagedBytes = 16 << 10;  // one record of TLS

}  // namespace

void Call::run() { connection->submit(*this); }

// No honest server cuts its answer into so many pieces, and finding their places takes time.
constexpr uint32_t kPiecesMax = 4096;

bool Call::cover(uint64_t offset, uint64_t length) {
  if (in_order_ && offset == covered_) {
    covered_ += length;
    return true;
  }
  if (in_order_ && covered_ != 0) map_.add(0, static_cast<uint32_t>(covered_));
  in_order_ = false;
  if (++pieces_ > kPiecesMax) return false;
  const uint32_t before = map_.filled_bytes();
  map_.add(static_cast<uint32_t>(offset), static_cast<uint32_t>(offset + length));
  return map_.filled_bytes() == before + length;
}

bool Call::is_covered() const {
  return in_order_ ? covered_ == header.length
                   : map_.covers(0, static_cast<uint32_t>(header.length));
}

void Call::begin_again() {
  slot_ = kNoSlot;
  sending_ = answered_ = false;
  error_ = 0;
  covered_ = 0;
  map_.clear();
  in_order_ = true;
  pieces_ = 0;
  has_extents_ = false;
  if (extents != nullptr) *extents = Extents(extents->range_bytes(), extents->detail());
}

Connection::Connection(Ring& ring, Remote& remote, Session session, const Siblings* siblings)
    : ring_(ring),
      remote_(remote),
      tick_(std::clamp<std::chrono::nanoseconds>(remote.options().timeout / 4, milliseconds(20),
                                                 milliseconds(5000))),
      session_(std::move(session)),
      dialler_(ring),
      siblings_(siblings),
      epoch_(remote.epoch()),
      input_(std::make_unique_for_overwrite<std::byte[]>(kInputBytes)) {}

Connection::~Connection() { assert(ended_ && "a connection is closed before it is destroyed"); }

void Connection::submit(Call& call) {
  const bool is_over = gave_up_ || remote_.has_failed() ||
                       (broken_ && (siblings_ == nullptr || remote_.is_ending()));
  if (is_over) return answer(call, Status::from_errno(EIO));
  to_send_.push(call);
  ++waiting_;
  wake(sender_);
}

void Connection::answer(Call& call, Status status) {
  if (call.foreign == nullptr) {
    call.status_ = status;
    call.ended_ = true;
    if (call.coroutine_) ring_.ready().push(std::exchange(call.coroutine_, nullptr));
    return;
  }
  const bool is_last = foreign_.fetch_sub(1, std::memory_order_relaxed) == 1;
  call.foreign->complete(-status.error());  // the call may be gone now
  if (is_last) wake(drainer_);
}

// To a sibling that is well, or to the caller as an error.
void Connection::pass_on_waiting() {
  Connection* other = nullptr;
  if (siblings_ != nullptr) {
    for (const auto& each : *siblings_) {
      if (each->is_usable()) other = each.get();
    }
  }
  while (Call* const call = to_send_.pop()) {
    --waiting_;
    if (other != nullptr && call->foreign == nullptr) {
      other->submit(*call);
    } else {
      answer(*call, Status::from_errno(EIO));
    }
  }
}

Task Connection::drain(Request& /*own*/) {
  while (foreign_.load(std::memory_order_relaxed) != 0) {
    Idle idle{drainer_};
    co_await idle;
  }
  co_return kOk;
}

Task Connection::close(Request& /*own*/, Session& session) {
  closing_ = true;
  dialler_.cancel();
  if (pausing_ != nullptr) ring_.cancel(*std::exchange(pausing_, nullptr));
  if (receiving_ != nullptr) ring_.cancel(*std::exchange(receiving_, nullptr));
  wake(sender_);
  wake(supervisor_);
  while (!ended_) {
    Idle idle{closer_};
    co_await idle;
  }
  if (!broken_) session = std::move(session_);
  co_return kOk;
}

// --- Its life.

Service Connection::run() {
  {
    LifeRequest own(ring_);
    remote_.connected(end_watch_);
    while (true) {
      file_ = session_.file();
      headers_ = session_.agreed.headers;
      begin_ = end_ = 0;
      silence_ = {};
      broken_ = false;
      session_began_ = Clock::now();
      parts_ = 2;
      receive();
      send();
      while (parts_ != 0) {
        Idle idle{supervisor_};
        co_await idle;
      }
      if (closing_) {
        if (broken_) remote_.lost(why_, epoch_);
        if (broken_) remote_.left(false);
        break;
      }
      take_back();
      Task restoring = restore(own.request);
      if (const Status restored = co_await restoring; !restored.ok()) break;
    }
    Task ending = end_watch_.end(own.request);
    [[maybe_unused]] const Status watched = co_await ending;
  }
  ended_ = true;
  wake(closer_);
}

void Connection::part_ended() {
  if (--parts_ == 0) wake(supervisor_);
}

// The socket is shut, so that nothing comes and nothing is sent any more.
void Connection::break_off(std::string why) {
  if (std::exchange(broken_, true)) return;
  why_ = std::move(why);
  shutdown(session_.socket.number(), SHUT_RDWR);
  // Frees what TCP still keeps to send, pages lent to a zero-copy send included.
  constexpr sockaddr kNobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (session_.tcp) connect(session_.socket.number(), &kNobody, sizeof(kNobody));
  wake(sender_);
}

void Connection::break_off(Status status) {
  switch (status.error()) {
    case EPROTO:  // see protest()
      return break_off(std::move(why_));
    case ETIMEDOUT:
      return break_off("it does not answer a request in time");
    case ECONNRESET:
    case EPIPE:
      return break_off("it hung up");
    default:
      return break_off(std::strerror(status.error()));
  }
}

// All calls without an answer go before those that wait. One that has been repeated for so long
// fails: perhaps it is what the server does not survive.
void Connection::take_back() {
  const Options& options = remote_.options();
  const Clock::time_point oldest = Clock::now() - options.reconnect - options.timeout;
  Fifo<Call> again;
  repeated_ = 0;
  repeats_changes_ = false;
  if (calls_.size() == 0) trouble_since_ = {};  // nobody has waited yet
  for (Call* const call : calls_.slots()) {
    if (call == nullptr) continue;
    calls_.remove(*call);
    call->begin_again();
    if (call->first_sent_at_ <= oldest || siblings_ == nullptr || remote_.is_ending()) {
      answer(*call, Status::from_errno(EIO));
      continue;
    }
    repeats_changes_ = repeats_changes_ || call->changes_data();
    again.push(*call);
    ++repeated_;
  }
  waiting_ += repeated_;
  while (Call* const call = to_send_.pop()) again.push(*call);
  to_send_ = again;
}

// --- The sender.

Service Connection::send() {
  {
    LifeRequest own(ring_);
    while (!broken_) {
      if (to_send_.empty() || calls_.full()) {
        if (closing_) break;
        Idle idle{sender_};
        co_await idle;
        continue;
      }
      Task sending = send_some(own.request);
      if (const Status sent = co_await sending; !sent.ok()) break_off(sent);
    }
  }
  part_ended();
}

// As many calls as one message holds; the last one may have its payload in another.
Task Connection::send_some(Request& own) {
  const Clock::time_point now = recent_time();
  if (epoch_ != remote_.epoch()) co_return protest("another connection was lost");
  if (starves_one(now)) co_return Status::from_errno(ETIMEDOUT);
  Call* with_payload = nullptr;
  outgoing_.clear();
  Gather copies(own, Outgoing::kCallsMax);
  while (outgoing_.has_room() && with_payload == nullptr && !to_send_.empty() && !calls_.full()) {
    Call& call = *to_send_.pop();
    --waiting_;
    if (call.extents != nullptr && !session_.agreed.allocation_context) {
      answer(call, Status::from_errno(EOPNOTSUPP));
      continue;
    }
    admit(call, now);
    if (call.header.command != Command::write) continue;
    if (remote_.options().send_zc) {
      with_payload = &call;
    } else if (outgoing_.add_payload(call)) {
      auto& counter = session_.tls ? remote_.copied_bytes : remote_.direct_bytes;
      counter.fetch_add(call.header.length, std::memory_order_relaxed);
    } else if (Outgoing::may_copy(call)) {
      copies.add(copy_out(own, call, outgoing_.add_copy(call.header.length)));
    } else {
      with_payload = &call;
    }
  }
  Status sent = co_await copies;
  if (sent.ok()) {
    Task sending = send_batch(own, with_payload != nullptr);
    sent = co_await sending;
  }
  if (sent.ok() && with_payload != nullptr) {
    Task sending = send_payload(own, *with_payload);
    sent = co_await sending;
  }
  for (Call* const call : outgoing_.calls()) {
    call->sending_ = false;
    if (call->answered_) finish(*call);
  }
  end_watch_.note_word();
  co_return sent;
}

// Writes its header.
void Connection::admit(Call& call, Clock::time_point now) {
  calls_.add(call);
  if (headers_ == Headers::extended && call.header.command == Command::write) {
    call.header.flags |= kPayloadLength;
  } else {
    call.header.flags &= static_cast<uint16_t>(~kPayloadLength);
  }
  call.sent_at_ = now;
  if (call.first_sent_at_ == Clock::time_point()) call.first_sent_at_ = now;
  call.sending_ = true;
  const size_t bytes = write_request(call.header, headers_, call.wire_);
  outgoing_.add(call, std::span(call.wire_).first(bytes));
}

Task Connection::copy_out(Request& /*own*/, Call& call, std::span<std::byte> place) {
  auto copying = ring_.copy_out(call.data, place);
  remote_.copied_bytes.fetch_add(place.size(), std::memory_order_relaxed);
  co_return co_await copying;
}

Task Connection::send_batch(Request& own, bool more) {
  Timeout limit(ring_, remote_.options().timeout, recent_time());
  if (session_.tls) {
    Task sending = session_.tls->send(own, {.ring = ring_, .limit = &limit}, outgoing_.pieces());
    co_return co_await sending;
  }
  sockets::GatherSend sending(ring_, file_, outgoing_.pieces(), more ? MSG_MORE : 0);
  auto limited = limit.limit(sending);
  co_return co_await limited;
}

Task Connection::send_payload(Request& own, Call& call) {
  if (session_.tls) {
    Task sending = encrypt_payload(own, call);
    co_return co_await sending;
  }
  Timeout limit(ring_, remote_.options().timeout, recent_time());
  remote_.direct_bytes.fetch_add(call.header.length, std::memory_order_relaxed);
  auto sending =
      remote_.options().send_zc ? ring_.send_zc(file_, call.data) : ring_.send(file_, call.data);
  auto limited = limit.limit(sending);
  co_return co_await limited;
}

// Pages without one address, through memory.
Task Connection::encrypt_payload(Request& own, Call& call) {
  Timeout limit(ring_, remote_.options().timeout, recent_time());
  std::vector<std::byte> staged(kStagedBytes);
  for (uint32_t done = 0; done < call.data.length();) {
    const uint32_t here = std::min(call.data.length() - done, kStagedBytes);
    auto copying =
        ring_.copy_out(call.data.slice(done, here, *own.arena), std::span(staged).first(here));
    if (const Status copied = co_await copying; !copied.ok()) co_return copied;
    const iovec piece{.iov_base = staged.data(), .iov_len = here};
    Task sending = session_.tls->send(own, {.ring = ring_, .limit = &limit}, {&piece, 1});
    if (const Status sent = co_await sending; !sent.ok()) co_return sent;
    done += here;
  }
  remote_.copied_bytes.fetch_add(call.data.length(), std::memory_order_relaxed);
  co_return kOk;
}

}  // namespace sluice::nbd::client
