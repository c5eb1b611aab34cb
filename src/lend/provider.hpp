// Provider: the device side of a loan (A in the mails): it lends the buffers of the requests that a
// server holds, by queue and tag.
//
//   provider.begin(request);                        the request was delivered
//   View lent = provider.lend(at, length, Direction::source);
//   provider.end(request);                          before it is completed
//
// It works for requests of any front end; their server calls begin() and end(), on the thread that
// serves the queue. The other functions may be called on any thread (S75). A lent view keeps the
// loan: after end(), a request is completed only when its last view is dropped (S6, P-4).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/request.hpp"
#include "lend/position.hpp"

namespace sluice::lend {

class Provider {
 public:
  // For a device with `queues` queues of `depth` tags each.
  Provider(uint16_t queues, uint16_t depth);
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  // A request without data can begin, but has nothing to lend. Its queue and tag must be the
  // device's.
  void begin(const Request& request) noexcept;
  void end(const Request& request) noexcept;
  // The device no longer exists: lend() fails from now on. Existing views stay valid.
  void withdraw() noexcept { gone_.store(true, std::memory_order_relaxed); }

  // The position of a byte in a request's buffer.
  static Position position(const Request& request, uint32_t offset = 0) {
    return {.queue = request.queue, .tag = request.tag, .offset = offset};
  }

  // Lends the bytes [at.offset, at.offset + length) of a request's buffer, any number of times
  // (S5). On an error the view carries an errno, with which every use of it fails before a byte
  // moves. ENODEV: the device no longer exists; EINVAL: no such queue or tag, no request there, a
  // request without data, or length 0; EFAULT: outside the buffer; EACCES: `use` is not the
  // request's direction: a READ is filled, a WRITE is read (S3, P-5).
  View lend(Position at, uint32_t length, Direction use) noexcept;
  // The same, for the request's own direction.
  View lend(Position at, uint32_t length) noexcept;
  // The whole buffer.
  View lend_whole(uint16_t queue, uint16_t tag) noexcept;

 private:
  std::atomic<Loan*>* slot(uint16_t queue, uint16_t tag) noexcept;
  Loan* find(uint16_t queue, uint16_t tag) noexcept;

  const uint16_t queues_;
  const uint16_t depth_;
  std::unique_ptr<std::atomic<Loan*>[]> loans_;  // null: no request with data there
  std::atomic<bool> gone_ = false;
};

}  // namespace sluice::lend
