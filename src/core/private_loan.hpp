// PrivateLoan: lends a target's own memory to its children: zeroes to write, a block to compare.
//
// Lives in the coroutine frame of the request that uses it, declared before the requests that hold
// views of it, so that it is destroyed last. All views of 4 GiB or more carry EFAULT.
#pragma once

#include "core/loan.hpp"

namespace sluice {

class PrivateLoan final : private Lender {
 public:
  PrivateLoan(Direction direction, std::span<std::byte> memory) {
    const View first = loan_.lend_mapped(*this, direction, memory);
    lent_ = first.status().ok();
    if (lent_) loan_.open();
  }
  ~PrivateLoan() {
    if (lent_) loan_.close();
  }

  View view() { return loan_.view(); }
  View view(uint32_t offset, uint32_t length) { return loan_.view(offset, length); }

 private:
  void returned(Loan&) noexcept override {}

  Loan loan_;
  bool lent_ = false;
};

}  // namespace sluice
