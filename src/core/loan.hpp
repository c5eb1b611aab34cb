// Loan: the pages of one request, lent by a front end until the last user has returned them.
//
// A front end (the Lender) owns the Loan object and reuses it for the tag's next request. Whoever
// uses the pages holds a View (view.hpp); each View is one reference. The first one is what
// lend_*() gives, the others are copies of it, or views taken of a loan that is open: that is one
// reference more, from open() to close(). When the last reference goes, on whichever thread, the
// lender is told once (P-1, P-2, P-4). Views may be taken, copied and dropped by any thread (P-16).
//
// A Loan never moves bytes itself: that is the Ring's work. It has a length, a direction, which the
// lender alone decides from the request (P-5), and *optionally* an address.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/file.hpp"
#include "core/fill_map.hpp"
#include "core/piped_fills.hpp"
#include "core/segment.hpp"
#include "core/status.hpp"

namespace sluice {

class Arena;
class Loan;
class View;

// What the request lets its server do with the pages (S3).
enum class Direction : uint8_t {
  source,       // WRITE: they may be read from
  destination,  // READ: they may be filled
};

class Lender {
 public:
  // All references to `loan` are gone. Called exactly once per loan, by the thread that dropped the
  // last one; the loan may be lent again from here on.
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

  // Memory of this process. `slot`: where the same memory is a registered buffer of the ring as
  // well. This and the next two give the first reference, to all of the pages.
  View lend_mapped(Lender& lender, Direction direction, std::span<std::byte> memory,
                   int slot = kNoSlot);

  // Pages that only the kernel can touch: slot `slot` of the ring's buffer table, base address 0.
  // Bytes can still be copied in and out through `copy_file` (S127), at `copy_position` + offset,
  // where it is valid.
  View lend_registered(Lender& lender, Direction direction, uint32_t length, int slot,
                       File copy_file = {}, uint64_t copy_position = 0);

  // Pages in pipes. A source: `pipe` holds exactly these bytes; nobody takes them out before the
  // loan is back. A destination needs none: what fills it is in fills() when it is back.
  View lend_piped(Lender& lender, Direction direction, uint32_t length, Pipe* pipe = nullptr);

  // Lets views be taken by whoever knows the loan, and holds it until it is closed. By a holder of
  // a view; several times where several lend by name, and then closed as often.
  void open() noexcept;
  void close() noexcept;

  // A reference to [offset, offset + length). Beyond the end, or on a loan that is not open: a View
  // that carries EFAULT and makes every operation on it fail before a byte moves (P-6).
  View view(uint32_t offset, uint32_t length) noexcept;
  View view() noexcept;

  uint32_t length() const { return length_; }
  Direction direction() const { return direction_; }
  int slot() const { return slot_; }
  // Null where the pages have no address in this process.
  std::byte* address() const { return address_; }
  bool addressable() const { return address_ != nullptr; }
  bool piped() const { return piped_; }
  Pipe* pipe() const { return pipe_; }
  File copy_file() const { return copy_file_; }
  uint64_t copy_position() const { return copy_position_; }

  // Fill accounting (P-8): the ring records what reads, receives and copies have filled. Any
  // thread. What is beyond the end is never filled.
  void fill(Segment piece) noexcept;
  // The same where the bytes are the next ones of `pipe`.
  void fill_from(Segment piece, Pipe& pipe) noexcept;
  bool filled(Segment piece) const noexcept;
  uint32_t filled_bytes() const noexcept;

  // Where the bytes of a piped destination are; for its lender, when it is back.
  PipedFills& fills() { return fills_; }

  // References now held. For assertions and tests.
  uint32_t references() const { return state_.load(std::memory_order_acquire) % kOpen; }

 private:
  friend class View;

  void begin(Lender& lender, Direction direction, size_t length, int slot);
  View lend();
  bool contains(Segment piece) const {
    return piece.offset <= length_ && piece.length <= length_ - piece.offset;
  }
  bool acquire_if_open() noexcept;
  void acquire() noexcept { state_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  // Constant while lent.
  Lender* lender_ = nullptr;
  std::byte* address_ = nullptr;
  uint32_t length_ = 0;
  int slot_ = kNoSlot;
  Direction direction_ = Direction::source;
  bool piped_ = false;
  Pipe* pipe_ = nullptr;
  File copy_file_;
  uint64_t copy_position_ = 0;

  // References, and in units of kOpen how often it is open.
  static constexpr uint32_t kOpen = 1U << 24;
  std::atomic<uint32_t> state_ = 0;

  // Most reads are filled by one operation: that needs no map and no guard. Pieces go into the map,
  // guarded by a flag because their consumers may be on other threads.
  std::atomic<bool> filled_whole_ = false;
  mutable std::atomic_flag map_guard_;
  FillMap map_;
  PipedFills fills_;
};

}  // namespace sluice

#include "core/view.hpp"
