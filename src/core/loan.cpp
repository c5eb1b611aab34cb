#include "core/loan.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

#include "core/arena.hpp"

namespace sluice {

Loan::~Loan() { assert(references() == 0 && "a Loan must not die before it is returned"); }

View Loan::lend_scattered(Lender& lender, Direction direction, std::span<const iovec> memory) {
  size_t length = 0;
  for (const iovec& vector : memory) length += vector.iov_len;
  if (!begin(lender, direction, length, kNoSlot)) return View::broken(EINVAL);
  vectors_ = memory;
  return lend();
}

View Loan::lend_registered(Lender& lender, Direction direction, uint32_t length, int slot,
                           File copy_file, uint64_t copy_position) {
  if (slot < 0 || !begin(lender, direction, length, slot)) return View::broken(EINVAL);
  copy_file_ = copy_file;
  copy_position_ = copy_position;
  return lend();
}

View Loan::lend_piped(Lender& lender, Direction direction, uint32_t length, Pipe* pipe) {
  const bool fits = (direction == Direction::source) == (pipe != nullptr);
  if (!fits || !begin(lender, direction, length, kNoSlot)) return View::broken(EINVAL);
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
  // Not before: without a reference the lender may reuse the loan with another length.
  if (contains({offset, length})) return View(this, {offset, length});
  release();
  return View::broken(EFAULT);
}

View Loan::view() noexcept {
  if (!acquire_if_open()) return View::broken(EFAULT);
  return View(this, {0, length_});
}

void Loan::fill(Segment piece) noexcept {
  if (!contains(piece)) return;
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

bool Loan::begin(Lender& lender, Direction direction, size_t length, int slot) {
  if (length > std::numeric_limits<uint32_t>::max()) return false;
  assert(fills_.pipes() == nullptr && "its lender has taken what filled it before");
  assert(references() == 0 && "a Loan is lent again only after it was returned");
  lender_ = &lender;
  direction_ = direction;
  length_ = static_cast<uint32_t>(length);
  slot_ = slot;
  address_ = nullptr;
  vectors_ = {};
  piped_ = false;
  pipe_ = nullptr;
  copy_file_ = {};
  copy_position_ = 0;
  filled_whole_.store(length == 0, std::memory_order_relaxed);
  map_.clear();
  return true;
}

bool Loan::acquire_if_open() noexcept {
  uint32_t now = state_.load(std::memory_order_relaxed);
  do {
    if (now < kOpen) return false;
  } while (!state_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel));
  return true;
}

// --- View

View View::slice(uint32_t offset, uint32_t length, Arena& arena) const noexcept {
  const Segment piece{offset, length};
  return select({&piece, 1}, arena);
}

View View::select(std::span<const Segment> pieces, Arena& arena) const noexcept {
  if (error_ != 0) return broken(error_);
  uint64_t total = 0;
  for (const Segment& piece : pieces) {
    if (piece.offset > length_ || piece.length > length_ - piece.offset) return broken(EFAULT);
    total += piece.length;
  }
  if (total > std::numeric_limits<uint32_t>::max()) return broken(EFAULT);

  View chosen = hold(static_cast<uint32_t>(total));
  if (count_ == 1 && pieces.size() == 1) {
    chosen.set_single({single_.offset + pieces[0].offset, pieces[0].length});
    return chosen;
  }
  uint32_t count = 0;
  for_each_part(pieces, [&](Segment) { ++count; });
  const std::span<Segment> parts = arena.array<Segment>(count);
  uint32_t next = 0;
  for_each_part(pieces, [&](Segment part) { parts[next++] = part; });
  if (count == 1) {
    chosen.set_single(parts[0]);
  } else {
    chosen.count_ = count;
    chosen.pieces_ = parts.data();
    chosen.arena_ = &arena;
  }
  return chosen;
}

// A further reference to the same loan, still without pieces.
View View::hold(uint32_t length) const noexcept {
  loan_->acquire();
  View view;
  view.loan_ = loan_;
  view.length_ = length;
  view.error_ = 0;
  return view;
}

void View::set_single(Segment piece) noexcept {
  count_ = 1;
  single_ = piece;
}

// Calls `visit` with the parts of the loan that correspond to `pieces` of this view, in order.
// Pieces mostly ascend, so the walk continues at the end of the last piece, and restarts only for a
// piece before it.
template <typename Visit>
void View::for_each_part(std::span<const Segment> pieces, Visit visit) const noexcept {
  const std::span<const Segment> own = segments();
  size_t index = 0;
  uint32_t begin = 0;  // where own[index] begins in this view
  for (Segment piece : pieces) {
    if (piece.offset < begin) index = begin = 0;
    while (piece.length != 0) {
      while (piece.offset >= begin + own[index].length) begin += own[index++].length;
      const uint32_t skip = piece.offset - begin;
      const uint32_t length = std::min(piece.length, own[index].length - skip);
      visit(Segment{own[index].offset + skip, length});
      piece.offset += length;
      piece.length -= length;
    }
  }
}

View View::broken(int error) noexcept {
  View view;
  view.error_ = error;
  return view;
}

}  // namespace sluice
