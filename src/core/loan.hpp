// Loan: the pages of one request, lent by a front end until the last user has returned them.
//
// A front end (the Lender) owns the Loan object and reuses it for the tag's next request. Each user
// of the pages holds a View (below); each View is one reference. lend_*() returns the first; others
// are copies of it, or are taken with view() while the loan is open. open() holds a reference of
// its own until close(). The thread that drops the last reference notifies the lender, once (P-1,
// P-2, P-4). Any thread may take, copy and drop views (P-16).
//
// A Loan never moves bytes itself: that is the Ring's work. It has a length, a direction, which the
// lender alone derives from the request (P-5), and *optionally* an address.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "core/file.hpp"
#include "core/fill_map.hpp"
#include "core/piped_fills.hpp"
#include "core/segment.hpp"
#include "core/status.hpp"

namespace sluice {

class Arena;
class Loan;
class View;

// The access to the pages that the request allows (S3).
enum class Direction : uint8_t {
  source,       // WRITE: they may be read from
  destination,  // READ: they may be filled
};

class Lender {
 public:
  // All references to `loan` are gone. Called exactly once per loan, by the thread that dropped the
  // last reference; from then on the loan may be lent again.
  virtual void returned(Loan& loan) noexcept = 0;

 protected:
  ~Lender() = default;
};

class Loan {
 public:
  static constexpr int kNoSlot = -1;

  Loan() = default;
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  ~Loan();

  // Lends memory of this process. `slot`: the registered buffer of the ring with the same memory,
  // if any. This and the next three return the first reference, to all of the pages; on an error
  // nothing is lent, and the View carries EINVAL: 4 GiB or more, no slot, or a pipe that does not
  // match the direction.
  View lend_mapped(Lender& lender, Direction direction, std::span<std::byte> memory,
                   int slot = kNoSlot);

  // Memory of this process in several places, in this order. The list must not change while lent.
  View lend_scattered(Lender& lender, Direction direction, std::span<const iovec> memory);

  // Pages that only the kernel can access: slot `slot` of the ring's buffer table, base address 0.
  // If `copy_file` is valid, bytes can be copied in and out through it, at `copy_position` + offset
  // (S127).
  View lend_registered(Lender& lender, Direction direction, uint32_t length, int slot,
                       File copy_file = {}, uint64_t copy_position = 0);

  // Pages in pipes. A source: `pipe` holds exactly these bytes, and nobody takes them out before
  // the loan is returned. A destination has no `pipe`: after the return fills() holds its bytes.
  View lend_piped(Lender& lender, Direction direction, uint32_t length, Pipe* pipe = nullptr);

  // open() allows view(), and holds a reference until close(). Only a holder of a view may call
  // it; several times if several providers lend the loan by name, each with its own close().
  void open() noexcept;
  void close() noexcept;

  // A reference to [offset, offset + length). Beyond the end, or on a loan that is not open: a View
  // that carries EFAULT and makes every operation on it fail before a byte moves (P-6).
  View view(uint32_t offset, uint32_t length) noexcept;
  View view() noexcept;

  uint32_t length() const { return length_; }
  Direction direction() const { return direction_; }
  int slot() const { return slot_; }
  // Null if the pages have no address in this process, or several: see MemoryCursor.
  std::byte* address() const { return address_; }
  std::span<const iovec> vectors() const { return vectors_; }
  bool addressable() const { return address_ != nullptr || !vectors_.empty(); }
  bool piped() const { return piped_; }
  Pipe* pipe() const { return pipe_; }
  File copy_file() const { return copy_file_; }
  uint64_t copy_position() const { return copy_position_; }

  // Fill accounting (P-8): the ring records the bytes that reads, receives and copies have filled.
  // Any thread. Pieces beyond the end are never filled.
  void fill(Segment piece) noexcept;
  // Allocates the memory for fill() in advance, for a loan that is lent many times.
  void prepare_fills() { map_.reserve(); }
  // Like fill(); the bytes of the piece are the next bytes of `pipe`.
  void fill_from(Segment piece, Pipe& pipe) noexcept;
  bool filled(Segment piece) const noexcept;
  uint32_t filled_bytes() const noexcept;

  // The pipes with the bytes of a piped destination; for its lender, after the return.
  PipedFills& fills() { return fills_; }

  // The number of references. For assertions and tests.
  uint32_t references() const { return state_.load(std::memory_order_acquire) % kOpen; }

 private:
  friend class View;

  bool begin(Lender& lender, Direction direction, size_t length, int slot);
  View lend();
  bool contains(Segment piece) const {
    return piece.offset <= length_ && piece.length <= length_ - piece.offset;
  }
  bool acquire_if_open() noexcept;
  void acquire() noexcept;
  void release() noexcept;

  // Constant while lent.
  Lender* lender_ = nullptr;
  std::byte* address_ = nullptr;
  std::span<const iovec> vectors_;
  uint32_t length_ = 0;
  int slot_ = kNoSlot;
  Direction direction_ = Direction::source;
  bool piped_ = false;
  Pipe* pipe_ = nullptr;
  File copy_file_;
  uint64_t copy_position_ = 0;

  // The number of references, plus kOpen times the number of open() without close().
  static constexpr uint32_t kOpen = 1U << 24;
  std::atomic<uint32_t> state_ = 0;

  // A read that one operation fills, as most are, needs no map and no guard. Pieces go into the
  // map, guarded by a flag because their consumers may be on other threads.
  std::atomic<bool> filled_whole_ = false;
  mutable std::atomic_flag map_guard_;
  FillMap map_;
  PipedFills fills_;
};

// View: a sub-range of a Loan, or several of them in order, that keeps the loan alive.
//
// A value: each copy is another reference, the destructor drops one. Any number of views may
// overlap and be in use at once (P-7), on any threads; one View is used, and copied, by one thread
// at a time. A view of an invalid range carries an errno instead of pages.
class View {
 public:
  View() = default;
  // A view without pages; status() is `error`.
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

  // kOk, or the reason why this view has no pages.
  Status status() const { return Status::from_errno(error_); }
  uint32_t length() const { return length_; }
  Loan* loan() const { return loan_; }

  // The pieces, in order, as offsets into the loan. Valid while the view and its arena live.
  std::span<const Segment> segments() const {
    if (count_ == 1) return {&single_, 1};
    return {pieces_, count_};
  }
  bool scattered() const { return count_ > 1; }
  // The arena with the pieces of a scattered view; null for a view of one piece.
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

// Copies all members, but does not count a reference.
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

// --- Of Loan, here because it makes and ends views

// The only reference of a loan that is not open has no concurrent user, and needs no atomic
// addition.
inline void Loan::acquire() noexcept {
  if (state_.load(std::memory_order_relaxed) == 1) {
    state_.store(2, std::memory_order_relaxed);
  } else {
    state_.fetch_add(1, std::memory_order_relaxed);
  }
}

// Nor does its end need an atomic subtraction.
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
  if (!begin(lender, direction, memory.size(), slot)) return View::broken(EINVAL);
  address_ = memory.data();
  return lend();
}

}  // namespace sluice
