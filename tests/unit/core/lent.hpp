// Lent: a loan together with its lender, for tests that need neither a tag nor a request.
#pragma once

#include <atomic>
#include <span>
#include <thread>

#include "core/loan.hpp"

namespace sluice::test {

class Lent final : private Lender {
 public:
  // Memory of the test.
  Lent(Direction direction, std::span<std::byte> memory, int slot = Loan::kNoSlot) {
    lend(direction, memory, slot);
  }
  // Pages without an address.
  Lent(Direction direction, uint32_t length, int slot, File copy_file = {},
       uint64_t copy_position = 0) {
    lend(direction, length, slot, copy_file, copy_position);
  }
  ~Lent() { close(); }

  void lend(Direction direction, std::span<std::byte> memory, int slot = Loan::kNoSlot) {
    open(loan.lend_mapped(*this, direction, memory, slot));
  }
  void lend(Direction direction, uint32_t length, int slot, File copy_file = {},
            uint64_t copy_position = 0) {
    open(loan.lend_registered(*this, direction, length, slot, copy_file, copy_position));
  }
  // Later calls have no effect.
  void close() {
    if (open_) loan.close();
    open_ = false;
  }

  int returned_count() const { return returned_count_.load(); }
  // The thread that dropped the last reference.
  std::thread::id returner() const { return returner_.load(); }

  Loan loan;

 private:
  void open(const View&) {
    loan.open();
    open_ = true;
  }
  void returned(Loan&) noexcept override {
    returner_ = std::this_thread::get_id();
    ++returned_count_;
  }

  bool open_ = false;
  std::atomic<int> returned_count_ = 0;
  std::atomic<std::thread::id> returner_;
};

}  // namespace sluice::test
