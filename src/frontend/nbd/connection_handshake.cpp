// Connection: the handshake.
#include <cerrno>
#include <chrono>
#include <utility>

#include "core/log.hpp"
#include "frontend/nbd/connection.hpp"
#include "ring/timeout.hpp"

namespace sluice::nbd {
namespace {

constexpr std::chrono::seconds kHandshakeTime{10};

}  // namespace

Task Connection::shake_hands(Request& own) {
  Timeout limit(ring_, kHandshakeTime);
  std::vector<std::byte> output;
  if (!handshake_.goes_on()) ServerHandshake::greet(output);
  while (true) {
    if (!output.empty()) {
      iovec piece{.iov_base = output.data(), .iov_len = output.size()};
      Task sending = send(own, {&piece, 1}, &limit);
      if (const Status sent = co_await sending; !sent.ok()) co_return sent;
      output.clear();
    }
    if (handshake_.state() == ServerHandshake::State::starting_tls) {
      Task starting = start_tls(own, limit);
      if (const Status started = co_await starting; !started.ok()) co_return started;
      handshake_.tls_started();
    }
    if (handshake_.state() == ServerHandshake::State::transmission) break;
    if (handshake_.state() == ServerHandshake::State::ended) {
      if (!handshake_.why().empty()) log().info("an NBD client was refused: {}", handshake_.why());
      co_return Status::from_errno(ECONNABORTED);
    }
    Task filling = wait_for_message(own, limit);
    if (const Status filled = co_await filling; !filled.ok()) co_return filled;
    begin_ += handshake_.feed(buffered(), output);
    if (handshake_.state() != ServerHandshake::State::transmission) continue;
    if (!prepare_transmission()) co_return Status::from_errno(ENOMEM);
  }
  co_return kOk;
}

// Receives more of it, or rests in a pause: any part of a message can be handed over.
Task Connection::wait_for_message(Request& own, Timeout& limit) {
  while (true) {
    if (pausing_ && !tls_) {
      Task resting = rest(own);
      if (const Status rested = co_await resting; !rested.ok()) co_return rested;
      if (stopping_) co_return Status::from_errno(ECANCELED);
      continue;
    }
    at_boundary_ = tls_ == nullptr;
    Task filling = fill(own, &limit);
    const Status filled = co_await filling;
    at_boundary_ = false;
    if (filled.error() != ECANCELED || stopping_) co_return filled;
  }
}

Task Connection::start_tls(Request& own, Timeout& limit) {
  tls_ = std::make_unique<tls::Stream>(socket_.number(), setup_.credentials);
  Task shaking = tls_->shake_hands(own, {.ring = ring_, .limit = &limit, .pending = &receiving_});
  const Status shaken = co_await shaking;
  if (!shaken.ok() && !tls_->why().empty()) {
    log().info("an NBD client is not served: TLS: {}", tls_->why());
  }
  co_return shaken;
}

// Before the client learns that it may send requests.
bool Connection::prepare_transmission() {
  const ServerHandshake::Agreement& agreed = handshake_.agreed();
  form_ = {.headers = agreed.headers, .contexts = agreed.contexts};
  chosen_ = static_cast<const OfferedExport*>(agreed.chosen);
  size_ = chosen_->size;
  flags_ = chosen_->flags;
  auto pool = make_pool();
  if (!pool) {
    log().warn("{}", pool.error().text);
    return false;
  }
  pool_ = std::move(*pool);
  begin_transmission();
  return true;
}

}  // namespace sluice::nbd
