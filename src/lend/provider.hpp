// Provider: the device side of a loan (A in the mails): it lends the buffers of the requests that a
// server has in its hands, by queue and tag.
//
//   provider.begin(request);                        it was delivered
//   View lent = provider.lend(at, length, Direction::source);
//   provider.end(request);                          before it is completed
//
// Any front end's requests can be lent; who serves them says so. begin() and end() are called by
// the thread that serves the queue, the others by any thread (S75). What was lent keeps the loan:
// a request that has ended here is completed only when the last view is gone (S6, P-4).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/request.hpp"
#include "lend/position.hpp"

namespace sluice::lend {

class Provider {
 public:
  // Of a device with so many queues, each of so many tags.
  Provider(uint16_t queues, uint16_t depth);
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  // A request without data has a name, and nothing to lend. Its queue and tag are the device's.
  void begin(const Request& request) noexcept;
  void end(const Request& request) noexcept;
  // The device is gone: nothing is lent any more. What is lent stays so.
  void withdraw() noexcept { gone_.store(true, std::memory_order_relaxed); }

  // Where the buffer of a request begins.
  static Position position(const Request& request, uint32_t offset = 0) {
    return {.queue = request.queue, .tag = request.tag, .offset = offset};
  }

  // The bytes [at.offset, at.offset + length) of a request's buffer, any number of times (S5). What
  // cannot be lent is a view that carries the reason, with which every use of it ends before a byte
  // moves: ENODEV: the device is gone; EINVAL: no such queue or tag, no request there or one
  // without data, no length; EFAULT: beyond the buffer; EACCES: `use` is not what the request lets
  // its server do: fill a READ's, read from a WRITE's (S3, P-5).
  View lend(Position at, uint32_t length, Direction use) noexcept;
  // The same, whatever the request lets its server do.
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
