// TagLoan: the loan of one tag of a queue, and the wait until its last user has returned it (P-4).
//
//   loan.awaits_return();                       before the pages are lent
//   request.data = loan->lend_mapped(loan.lender(), ...);
//   ...
//   request.data.drop();
//   auto back = loan.back();
//   co_await back;                              usually it is already back
//
// Owned by the tag, used by its ring's thread; only the return may come from another thread (P-16).
#pragma once

#include <atomic>
#include <coroutine>
#include <thread>

#include "ring/ring.hpp"

namespace sluice {

class TagLoan final : private Lender, private Message {
 public:
  class Back;

  void set_up(Ring& ring) {
    ring_ = &ring;
    loan_.prepare_fills();  // a first request allocates nothing
  }

  void awaits_return() { state_.store(kLent, std::memory_order_relaxed); }
  Lender& lender() { return *this; }
  Back back();

  Loan* operator->() { return &loan_; }
  const Loan* operator->() const { return &loan_; }
  Loan& operator*() { return loan_; }

 private:
  enum State : int { kLent, kAwaited, kBack };

  // Another thread sets kBack only after its last use of the ring: the ring may be destroyed after
  // the request ends.
  void returned(Loan&) noexcept override {
    int now = kLent;
    if (state_.compare_exchange_strong(now, kBack, std::memory_order_acq_rel)) return;
    ring_->post(*this);
    state_.store(kBack, std::memory_order_release);
  }
  void run() override {
    while (state_.load(std::memory_order_acquire) != kBack) std::this_thread::yield();
    ring_->ready().push(waiting_);
  }

  Ring* ring_ = nullptr;
  Loan loan_;
  std::atomic<int> state_ = kBack;
  std::coroutine_handle<> waiting_;
};

class [[nodiscard]] TagLoan::Back {
 public:
  explicit Back(TagLoan& loan) : loan_(loan) {}
  bool await_ready() const { return loan_.state_.load(std::memory_order_acquire) == kBack; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    loan_.waiting_ = coroutine;
    int lent = kLent;
    if (!loan_.state_.compare_exchange_strong(lent, kAwaited, std::memory_order_acq_rel)) {
      loan_.run();
    }
  }
  void await_resume() const {}

 private:
  TagLoan& loan_;
};

inline TagLoan::Back TagLoan::back() { return Back(*this); }

}  // namespace sluice
