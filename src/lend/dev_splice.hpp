// DevSplice: dev_splice(A, A_offset, length, OP) of the mails (S57 to S61): bytes of a request of
// device A are the memory of one operation on a file, a socket or another device.
//
//   lend::DevSplice splicing(provider, position.pack(), length, lend::Recv{.socket = peer});
//   Task running = splicing.run(request);
//   const Status status = co_await running;
//
// The operation is a value, and determines the direction (S59). There is no pipe: at any length, a
// splice is one operation of the ring (P-3). Any number of splices may serve a request (S60).
#pragma once

#include <optional>

#include "lend/consumer.hpp"
#include "lend/provider.hpp"

namespace sluice::lend {

class DevSplice {
 public:
  // `offset`: a packed Position.
  DevSplice(Provider& device, uint64_t offset, uint32_t length, const Consumer& op)
      : device_(device), at_(Position::unpack(offset)), length_(length), op_(op) {}

  // Uses the ring and arena of `request`. Errors: those of Provider::lend(), before a byte moves,
  // and of Consumption::run().
  Task run(Request& request);
  // As in Consumption; ECANCELED before it has run.
  uint64_t moved_bytes() const { return consuming_ ? consuming_->moved_bytes() : 0; }
  int64_t result() const { return consuming_ ? consuming_->result() : -ECANCELED; }

 private:
  Provider& device_;
  const Position at_;
  const uint32_t length_;
  const Consumer op_;
  std::optional<Consumption> consuming_;  // from run() on
};

}  // namespace sluice::lend
