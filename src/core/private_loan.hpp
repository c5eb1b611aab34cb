// PrivateLoan: memory of a target's own, lent to its children: zeroes to write, a block to compare.
//
// Lives in the coroutine frame of the request that uses it, declared before the requests that hold
// views of it, so that it goes last.
#pragma once

#include <cassert>

#include "core/loan.hpp"

namespace sluice {

class PrivateLoan final : private Lender {
 public:
  PrivateLoan(Direction direction, std::span<std::byte> memory) {
    const View first = loan_.lend_mapped(*this, direction, memory);
    loan_.open();
  }
  ~PrivateLoan() { loan_.close(); }

  View view() { return loan_.view(); }
  View view(uint32_t offset, uint32_t length) { return loan_.view(offset, length); }

 private:
  void returned(Loan&) noexcept override {}

  Loan loan_;
};

}  // namespace sluice
