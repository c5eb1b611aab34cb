// View: a sub-range of a Loan, or several of them in order, that keeps the loan alive.
//
// A value: copies are further references, the destructor drops one. Any number of views may overlap
// and be in use at once (P-7). A view that asked for too much carries an errno instead of pages.
#pragma once

#include <utility>

#include "core/loan.hpp"

namespace sluice {

class View {
 public:
  View() = default;
  // One without pages, and why.
  static View broken(int error) noexcept;
  View(const View& other) noexcept;
  View(View&& other) noexcept;
  View& operator=(const View& other) noexcept { return *this = View(other); }
  View& operator=(View&& other) noexcept;
  ~View() {
    if (loan_ != nullptr) loan_->release();
  }

  // Ends the reference now. The view is empty afterwards.
  void drop() noexcept;

  // kOk, or why this view has no pages.
  Status status() const { return Status::from_errno(error_); }
  uint32_t length() const { return length_; }
  Loan* loan() const { return loan_; }

  // The pieces, in order, as offsets into the loan. Valid while the view and its arena live.
  std::span<const Segment> segments() const {
    if (count_ == 1) return {&single_, 1};
    return {pieces_, count_};
  }
  bool scattered() const { return count_ > 1; }
  // Where the pieces of a scattered view live; null for a view of one piece.
  Arena* arena() const { return arena_; }

  // Bytes [offset, offset + length) of this view. Beyond its end: a view that carries EFAULT.
  View slice(uint32_t offset, uint32_t length, Arena& arena) const noexcept;

  // These pieces of this view, in this order. Their list is kept in `arena`.
  View select(std::span<const Segment> pieces, Arena& arena) const noexcept;

 private:
  friend class Loan;

  View(Loan* adopted, Segment piece) noexcept
      : loan_(adopted), length_(piece.length), error_(0), count_(1), single_(piece) {}
  View hold(uint32_t length) const noexcept;
  void take(const View& other) noexcept;
  void forget() noexcept;
  void set_single(Segment piece) noexcept;
  template <typename Visit>
  void for_each_part(std::span<const Segment> pieces, Visit visit) const noexcept;

  Loan* loan_ = nullptr;
  uint32_t length_ = 0;
  int32_t error_ = EFAULT;
  uint32_t count_ = 0;
  Segment single_;
  const Segment* pieces_ = nullptr;
  Arena* arena_ = nullptr;
};

inline View::View(const View& other) noexcept {
  take(other);
  if (loan_ != nullptr) loan_->acquire();
}

inline View::View(View&& other) noexcept {
  take(other);
  other.forget();
}

inline View& View::operator=(View&& other) noexcept {
  Loan* const before = loan_;
  if (this == &other) return *this;
  take(other);
  other.forget();
  if (before != nullptr) before->release();
  return *this;
}

inline void View::drop() noexcept {
  Loan* const before = loan_;
  forget();
  if (before != nullptr) before->release();
}

// The same pages, without a reference to them.
inline void View::take(const View& other) noexcept {
  loan_ = other.loan_;
  length_ = other.length_;
  error_ = other.error_;
  count_ = other.count_;
  single_ = other.single_;
  pieces_ = other.pieces_;
  arena_ = other.arena_;
}

inline void View::forget() noexcept {
  loan_ = nullptr;
  length_ = 0;
  count_ = 0;
  error_ = EFAULT;
}

// --- Of Loan, here because it makes and ends views.

// The last one of a loan that is not open is alone with it, and need not subtract atomically.
inline void Loan::release() noexcept {
  Lender* const lender = lender_;  // the loan may be lent anew as soon as the count is zero
  if (state_.load(std::memory_order_acquire) == 1) {
    state_.store(0, std::memory_order_relaxed);
  } else if (state_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  lender->returned(*this);
}

inline View Loan::lend() {
  state_.store(1, std::memory_order_release);
  return View(this, {0, length_});
}

inline View Loan::lend_mapped(Lender& lender, Direction direction, std::span<std::byte> memory,
                              int slot) {
  begin(lender, direction, memory.size(), slot);
  address_ = memory.data();
  return lend();
}

}  // namespace sluice
