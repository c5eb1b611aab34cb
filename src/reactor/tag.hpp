// Tag: one request slot of a queue, for as long as the queue lives: loan, arena and request.
//
//   tag.begin(counters);                        a request has come in; the front end decodes it
//   counters.count(tag.request);
//   request.data = tag.lend(direction, memory);
//   Task serving = stack.submit(request);       ... co_await serving; request.data.drop();
//   auto back = tag.loan.back();                ... co_await back;
//   status = tag.confirm_read(request, status);
//   tag.conclude(counters, status);             it is answered
//
// A front end derives from it to add the needs of its wire. Used by the queue's thread; only the
// loan may come back on another one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/arena.hpp"
#include "core/request.hpp"
#include "reactor/in_flight.hpp"
#include "reactor/queue_counters.hpp"
#include "reactor/tag_loan.hpp"
#include "ring/linked_command.hpp"

namespace sluice {

class Tag {
 public:
  void set_up(Ring& ring, uint16_t queue, uint16_t number);

  // A request has come in. It counts as in flight until conclude().
  void begin(QueueCounters& counters);
  // The request counts as answered already: its linked commit has gone to the kernel, whose answer
  // will be seen late, or it is not for the stack. Its time is not measured.
  void lose_sight(QueueCounters& counters);
  bool in_sight() const { return in_sight_; }
  // The request is answered with `status`. Empties the arena.
  void conclude(QueueCounters& counters, Status status);
  // The same for a request that the stack never saw: it is in no statistics.
  void forget(QueueCounters& counters);
  // True from begin() to conclude().
  bool busy() const { return busy_; }

  // Lend memory, a slot of the ring's buffer table, or pipes. loan.back() waits for the last user.
  View lend(Direction direction, std::span<std::byte> memory, int slot = Loan::kNoSlot) {
    loan.awaits_return();
    return loan->lend_mapped(loan.lender(), direction, memory, slot);
  }
  View lend_slot(Direction direction, uint32_t length, int slot, File copies = {},
                 uint64_t position = 0) {
    loan.awaits_return();
    return loan->lend_registered(loan.lender(), direction, length, slot, copies, position);
  }
  // `source`: the pipe that holds the data of a write; null for a read.
  View lend_piped(Direction direction, uint32_t length, Pipe* source) {
    loan.awaits_return();
    return loan->lend_piped(loan.lender(), direction, length, source);
  }

  // The final status of `lent`, the request that the loan was for, once it is back. EIO for a read
  // that is reported done with fewer bytes filled: its client would see old contents of the memory
  // (P-8).
  Status confirm_read(const Request& lent, Status status) const {
    const bool is_good = !status.ok() || lent.op != Op::read || loan->filled_bytes() == lent.length;
    return is_good ? status : refuse_unfilled(lent);
  }

  // Adds the request, if there is one.
  void list_in_flight(std::vector<InFlight>& found) const;

  TagLoan loan;
  Request request;
  Arena arena;
  LinkedCommand linked_command;  // of this request, linked to its one operation

 private:
  void reset_arena(QueueCounters& counters);
  Status refuse_unfilled(const Request& lent) const;

  uint64_t begun_ = 0;  // cycles
  uint64_t overflows_counted_ = 0;
  bool busy_ = false;
  bool in_sight_ = true;
};

// --- On every request's path.

inline void Tag::begin(QueueCounters& counters) {
  linked_command.withdraw();
  request.linked_command = nullptr;
  request.tracking = {};
  busy_ = true;
  in_sight_ = true;
  begun_ = counters.begin();
}

inline void Tag::conclude(QueueCounters& counters, Status status) {
  counters.end(request, in_sight_ ? begun_ : QueueCounters::kOutOfSight, status);
  busy_ = false;
  reset_arena(counters);
}

inline void Tag::reset_arena(QueueCounters& counters) {
  if (const uint64_t overflows = arena.overflows(); overflows != overflows_counted_) {
    QueueCounters::add(counters.arena_overflows, overflows - overflows_counted_);
    overflows_counted_ = overflows;
  }
  arena.reset();
}

// The memory of a request of this operation.
inline Direction direction_of(Op op) {
  return op == Op::read ? Direction::destination : Direction::source;
}

}  // namespace sluice
