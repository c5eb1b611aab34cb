// Connection: how it rests, and goes on, here or in another server.
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/idle.hpp"
#include "core/log.hpp"
#include "frontend/nbd/connection.hpp"

namespace sluice::nbd {

// Only the wait for a request, or for a message of a handshake without TLS, is cut short: the rest
// of a request that has begun is still received. What comes at the same time as the cancellation is
// kept.
void Connection::pause() {
  pausing_ = true;
  if (at_boundary_ && receiving_ != nullptr) ring_.cancel(*std::exchange(receiving_, nullptr));
}

// The reader, between two requests or messages. Replies are sent when no tag is busy.
Task Connection::rest(Request& own) {
  // With TLS the requests that have been received are served: no other server will.
  while (tls_ && read_request(buffered(), form_.headers).is_whole()) {
    Task taking = take_request(own);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  }
  while (busy_ != 0) {
    Idle idle{drainer_};
    co_await idle;
  }
  if (!pausing_ || stopping_) co_return kOk;
  if (broken_) co_return Status::from_errno(ECONNRESET);
  if (tls_) {
    log().info("an NBD client is disconnected: a connection with TLS cannot be handed over");
    co_return Status::from_errno(ECONNABORTED);
  }
  listener_.paused(*this);
  Idle idle{resting_};
  co_await idle;
  co_return kOk;
}

void Connection::hurry() {
  const bool sends = has_agreed() && !sender_;
  const bool waits = !has_agreed() || receiving_ != nullptr || sends;
  if (resting_ || broken_ || !waits) {
    progress_.late = false;
    return;
  }
  const bool has_moved = progress_.has_moved(pipe_.held_bytes());
  if (!std::exchange(progress_.late, true) || has_moved) return pause();  // TLS may wait anew
  log().info("an NBD client is disconnected: {} in time for the handover",
             !has_agreed()           ? "it has not finished its handshake"
             : receiving_ != nullptr ? "it has not sent the rest of its request"
                                     : "it has not taken its replies");
  give_up();
}

void Connection::resume() {
  pausing_ = false;
  progress_.late = false;
  wake(resting_);
}

void Connection::leave() {
  left_ = true;
  stopping_ = true;
  wake(resting_);
}

ClientState Connection::state() const {
  const Bytes unread = buffered();
  if (!has_agreed()) {
    return {.queue = setup_.queue,
            .handshake = handshake_.progress(),
            .unread = {unread.begin(), unread.end()}};
  }
  return {.queue = setup_.queue,
          .export_name = chosen_->name,
          .size = size_,
          .flags = flags_,
          .headers = form_.headers,
          .contexts = form_.contexts,
          .unread = {unread.begin(), unread.end()}};
}

void Connection::go_on(HandedClient client) {
  ClientState& state = client.state;
  end_ = state.unread.size();
  if (end_ != 0) std::memcpy(input_.get(), state.unread.data(), end_);
  if (state.handshake) {
    handshake_.go_on(std::move(*state.handshake));
    return begin();
  }
  form_ = {.headers = state.headers, .contexts = std::move(state.contexts)};
  chosen_ = setup_.exports.offered(state.export_name);
  size_ = state.size;
  flags_ = state.flags;
  pool_ = std::move(client.pool);
  begin_transmission();
  run();
}

}  // namespace sluice::nbd
