#include "core/loan.hpp"

#include <cassert>
#include <limits>

namespace sluice {

Loan::~Loan() { assert(references() == 0 && "a Loan must not die before it is returned"); }

View Loan::lend_registered(Lender& lender, Direction direction, uint32_t length, int slot,
                           File copy_file, uint64_t copy_position) {
  assert(slot >= 0);
  begin(lender, direction, length, slot);
  copy_file_ = copy_file;
  copy_position_ = copy_position;
  return lend();
}

View Loan::lend_piped(Lender& lender, Direction direction, uint32_t length, Pipe* pipe) {
  assert((direction == Direction::source) == (pipe != nullptr));
  begin(lender, direction, length, kNoSlot);
  piped_ = true;
  pipe_ = pipe;
  return lend();
}

void Loan::open() noexcept {
  [[maybe_unused]] const uint32_t before = state_.fetch_add(kOpen + 1, std::memory_order_acq_rel);
  assert(before != 0 && "who opens a Loan holds a view of it");
}

void Loan::close() noexcept {
  Lender* const lender = lender_;  // the loan may be lent anew as soon as the count is zero
  const uint32_t before = state_.fetch_sub(kOpen + 1, std::memory_order_acq_rel);
  assert(before >= kOpen && "a Loan is closed as often as it was opened");
  if (before == kOpen + 1) lender->returned(*this);
}

View Loan::view(uint32_t offset, uint32_t length) noexcept {
  if (!acquire_if_open()) return View::broken(EFAULT);
  // Only now does the length stay what it is: the tag's next request may have another.
  if (contains({offset, length})) return View(this, {offset, length});
  release();
  return View::broken(EFAULT);
}

View Loan::view() noexcept {
  if (!acquire_if_open()) return View::broken(EFAULT);
  return View(this, {0, length_});
}

void Loan::fill(Segment piece) noexcept {
  assert(contains(piece));
  if (piece.offset == 0 && piece.length == length_) {
    filled_whole_.store(true, std::memory_order_release);
    return;
  }
  while (map_guard_.test_and_set(std::memory_order_acquire)) {
  }
  map_.add(piece.offset, piece.offset + piece.length);
  map_guard_.clear(std::memory_order_release);
}

void Loan::fill_from(Segment piece, Pipe& pipe) noexcept {
  while (map_guard_.test_and_set(std::memory_order_acquire)) {
  }
  fills_.add(piece, pipe);
  map_guard_.clear(std::memory_order_release);
  fill(piece);
}

bool Loan::filled(Segment piece) const noexcept {
  if (!contains(piece)) return false;
  if (filled_whole_.load(std::memory_order_acquire)) return true;
  while (map_guard_.test_and_set(std::memory_order_acquire)) {
  }
  const bool covered = map_.covers(piece.offset, piece.offset + piece.length);
  map_guard_.clear(std::memory_order_release);
  return covered;
}

uint32_t Loan::filled_bytes() const noexcept {
  if (filled_whole_.load(std::memory_order_acquire)) return length_;
  while (map_guard_.test_and_set(std::memory_order_acquire)) {
  }
  const uint32_t bytes = map_.filled_bytes();
  map_guard_.clear(std::memory_order_release);
  return bytes;
}

void Loan::begin(Lender& lender, Direction direction, size_t length, int slot) {
  assert(length <= std::numeric_limits<uint32_t>::max());
  assert(fills_.pipes() == nullptr && "its lender has taken what filled it before");
  assert(references() == 0 && "a Loan is lent again only after it was returned");
  lender_ = &lender;
  direction_ = direction;
  length_ = static_cast<uint32_t>(length);
  slot_ = slot;
  address_ = nullptr;
  piped_ = false;
  pipe_ = nullptr;
  copy_file_ = {};
  copy_position_ = 0;
  filled_whole_.store(length == 0, std::memory_order_relaxed);
  map_.clear();
}

bool Loan::acquire_if_open() noexcept {
  uint32_t now = state_.load(std::memory_order_relaxed);
  do {
    if (now < kOpen) return false;
  } while (!state_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel));
  return true;
}

}  // namespace sluice
