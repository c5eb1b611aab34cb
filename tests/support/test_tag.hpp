// TestTag: what a front end keeps per request (an arena, a loan, the request), for tests that call
// targets directly. It counts how often its loan came back.
#pragma once

#include <optional>
#include <vector>

#include "core/task.hpp"
#include "ring/ring.hpp"

namespace sluice::test {

class TestTag final : private Lender {
 public:
  explicit TestTag(Ring& ring) : ring_(ring) {}
  ~TestTag() {
    if (lent_) loan.close();
  }

  // A request whose data is `memory`, lent as mapped memory, or as slot `slot` of the buffer table.
  Request& make(Op op, uint64_t offset, std::span<std::byte> memory, int slot = Loan::kNoSlot) {
    finish();
    const Direction direction = op == Op::read ? Direction::destination : Direction::source;
    if (slot == Loan::kNoSlot) {
      loan.lend_mapped(*this, direction, memory);
    } else {
      loan.lend_registered(*this, direction, static_cast<uint32_t>(memory.size()), slot);
    }
    lent_ = true;
    fill(op, offset, memory.size());
    request.data = loan.view();
    return request;
  }

  // A request without data: flush, discard, write zeroes.
  Request& make(Op op, uint64_t offset, uint64_t length) {
    finish();
    fill(op, offset, length);
    return request;
  }

  // Ends the loan as a front end does when the request is served.
  void finish() {
    request.data.drop();
    if (lent_) loan.close();
    lent_ = false;
    arena.reset();
  }

  Arena arena;
  Loan loan;
  Request request;
  int returned_count = 0;

 private:
  void returned(Loan&) noexcept override { ++returned_count; }

  void fill(Op op, uint64_t offset, uint64_t length) {
    request = {};
    request.op = op;
    request.offset = offset;
    request.length = length;
    request.ring = &ring_;
    request.arena = &arena;
    request.ready = &ring_.ready();
  }

  Ring& ring_;
  bool lent_ = false;
};

}  // namespace sluice::test
