#include "tls/stream.hpp"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>
#include <utility>

#include "ring/sockets.hpp"
#include "tls/openssl.hpp"

namespace sluice::tls {
namespace {

bool is_late(const Stream::Wait& wait) { return wait.limit != nullptr && wait.limit->expired(); }

int bytes_of(size_t length) { return static_cast<int>(std::min<size_t>(length, INT_MAX)); }

// What the peer says before it hangs up; goes on after its role.
struct Alert {
  int number;
  const char* text;
};
constexpr Alert kAlerts[] = {
    {SSL_AD_HANDSHAKE_FAILURE, "accepts none of our ciphers, or wants a certificate of us"},
    {SSL_AD_BAD_CERTIFICATE, "refuses our certificate: it is bad"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, "refuses our certificate: its kind is not supported"},
    {SSL_AD_CERTIFICATE_REVOKED, "refuses our certificate: it is revoked"},
    {SSL_AD_CERTIFICATE_EXPIRED, "refuses our certificate: it has expired"},
    {SSL_AD_CERTIFICATE_UNKNOWN, "refuses our certificate"},
    {SSL_AD_UNKNOWN_CA, "refuses our certificate: unknown CA"},
    {SSL_AD_ACCESS_DENIED, "refuses our certificate: access denied"},
    {SSL_AD_DECRYPT_ERROR, "finds our key or signature wrong"},
    {SSL_AD_PROTOCOL_VERSION, "does not speak our versions of TLS, 1.2 and 1.3"},
    {SSL_AD_UNRECOGNIZED_NAME, "does not know the host name that we ask for"},
    {SSL_AD_UNKNOWN_PSK_IDENTITY, "does not know the name of our key"},
    {SSL_AD_CERTIFICATE_REQUIRED, "wants a certificate of us, and we have none"},
};

// Null: it is no such alert.
const char* alert_text(unsigned long code) {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return nullptr;
  const int number = ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
  const auto* const found = std::ranges::find(kAlerts, number, &Alert::number);
  return found == std::end(kAlerts) ? nullptr : found->text;
}

}  // namespace

Stream::Stream(int socket, std::shared_ptr<const Credentials> credentials)
    : credentials_(std::move(credentials)),
      socket_(socket),
      ssl_(credentials_->start(socket)),
      staged_(std::make_unique_for_overwrite<std::byte[]>(kRecordBytes)) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
}

Stream::~Stream() { openssl().SSL_free(ssl_); }

Task Stream::shake_hands(Request& own, Wait wait) {
  if (ssl_ == nullptr) co_return Status::from_errno(ENOMEM);
  while (true) {
    openssl().ERR_clear_error();
    const int result = openssl().SSL_do_handshake(ssl_);
    if (result == 1 && credentials_->accepts(ssl_)) co_return kOk;
    if (result == 1) {
      why_ = "the server shows a certificate, and does not know the key";
      co_return Status::from_errno(EPROTO);
    }
    Task settling = settle(own, wait, result);
    if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  }
}

Task Stream::receive(Request& own, Wait wait, std::span<std::byte> room, size_t& received) {
  received = 0;
  if (ssl_ == nullptr) co_return Status::from_errno(ENOMEM);
  if (is_late(wait)) co_return Status::from_errno(ETIMEDOUT);
  while (true) {
    openssl().ERR_clear_error();
    const int result = openssl().SSL_read(ssl_, room.data(), bytes_of(room.size()));
    if (result > 0) {
      received = static_cast<size_t>(result);
      Task waiting = let_others_run(own, wait, received);
      [[maybe_unused]] const Status waited = co_await waiting;
      co_return kOk;  // these bytes come once: if it is late now, the next call says so
    }
    if (openssl().SSL_get_error(ssl_, result) == SSL_ERROR_ZERO_RETURN) co_return kOk;
    Task settling = settle(own, wait, result);
    if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  }
}

Task Stream::send(Request& own, Wait wait, std::span<const iovec> pieces) {
  size_t staged = 0;
  for (const iovec& each : pieces) {
    std::span<const std::byte> left(static_cast<const std::byte*>(each.iov_base), each.iov_len);
    while (!left.empty()) {
      if (staged == 0 && left.size() >= kRecordBytes) {
        const size_t whole = left.size() / kRecordBytes * kRecordBytes;
        Task putting = put(own, wait, left.first(whole));
        if (const Status put = co_await putting; !put.ok()) co_return put;
        left = left.subspan(whole);
        continue;
      }
      const size_t here = std::min(left.size(), kRecordBytes - staged);
      std::memcpy(staged_.get() + staged, left.data(), here);
      staged += here;
      left = left.subspan(here);
      if (staged < kRecordBytes) continue;
      Task putting = put(own, wait, {staged_.get(), std::exchange(staged, 0)});
      if (const Status put = co_await putting; !put.ok()) co_return put;
    }
  }
  if (staged == 0) co_return kOk;
  Task putting = put(own, wait, {staged_.get(), staged});
  co_return co_await putting;
}

Task Stream::put(Request& own, Wait wait, std::span<const std::byte> bytes) {
  if (ssl_ == nullptr) co_return Status::from_errno(ENOMEM);
  while (!bytes.empty()) {
    openssl().ERR_clear_error();
    const int result = openssl().SSL_write(ssl_, bytes.data(), bytes_of(bytes.size()));
    if (result > 0) {
      bytes = bytes.subspan(static_cast<size_t>(result));
      Task waiting = let_others_run(own, wait, static_cast<size_t>(result));
      [[maybe_unused]] const Status waited = co_await waiting;
      if (is_late(wait)) co_return Status::from_errno(ETIMEDOUT);
      continue;
    }
    Task settling = settle(own, wait, result);
    if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  }
  co_return kOk;
}

// Waits until OpenSSL can go on, or says why it cannot.
Task Stream::settle(Request& /*own*/, Wait wait, int result) {
  const int reason = openssl().SSL_get_error(ssl_, result);
  if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) co_return explain(reason);
  // OpenSSL takes ENOTCONN for a reason to wait.
  if (hung_up_) co_return Status::from_errno(ECONNRESET);
  unbroken_ = 0;
  auto polling = sockets::poll(wait.ring, {.number = socket_},
                               reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT);
  if (wait.pending != nullptr) *wait.pending = &polling;
  int32_t events = 0;
  if (wait.limit != nullptr) {
    auto limited = wait.limit->limit(polling);
    events = co_await limited;
  } else {
    events = co_await polling;
  }
  if (wait.pending != nullptr) *wait.pending = nullptr;
  if (events > 0 && (events & (POLLHUP | POLLERR)) != 0) hung_up_ = true;
  co_return events == -EINTR ? kOk : Status::from_result(events);
}

// A peer that always has more must not keep the ring from its other work and its deadlines.
Task Stream::let_others_run(Request& /*own*/, Wait wait, size_t bytes) {
  unbroken_ += bytes;
  if (unbroken_ < kUnbrokenBytes) co_return kOk;
  unbroken_ = 0;
  io_uring_sqe sqe{};
  io_uring_prep_nop(&sqe);
  RawOperation turn(wait.ring, sqe);
  [[maybe_unused]] const int32_t done = co_await turn;
  co_return kOk;
}

Status Stream::explain(int reason) {
  const int error = errno;
  const unsigned long code = openssl().ERR_get_error();
  openssl().ERR_clear_error();
  if (reason == SSL_ERROR_SYSCALL && code == 0) {
    why_ = error == 0 ? "the peer hung up" : std::strerror(error);
    return Status::from_errno(error == 0 ? ECONNRESET : error);
  }
  if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    why_ = "the peer hung up";
    return Status::from_errno(ECONNRESET);
  }
  if (const char* const alert = alert_text(code); alert != nullptr) {
    why_ = std::string(credentials_->is_server() ? "the client " : "the server ") + alert;
    return Status::from_errno(EPROTO);
  }
  const char* const text = openssl().ERR_reason_error_string(code);
  why_ = text == nullptr ? "the peer broke the protocol" : text;
  if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    why_ += std::string(": ") +
            openssl().X509_verify_cert_error_string(openssl().SSL_get_verify_result(ssl_));
  }
  return Status::from_errno(EPROTO);
}

void Stream::close() {
  if (ssl_ == nullptr) return;
  if (openssl().SSL_is_init_finished(ssl_) != 0) openssl().SSL_shutdown(ssl_);
  openssl().ERR_clear_error();
}

}  // namespace sluice::tls
