// DirectPipe: the private pipe of a direct splice, which takes its bytes chunk by chunk (S18, S27
// to S32, S40 to S43). It has 16 slots, each with a reference to a piece of lent pages within one
// page. Pages of a file are in a kernel pipe behind it, made on first use.
//
// Owned by a server, one for each request in flight (the mails: one for each task), used by its
// ring's thread for one call at a time. It is empty before and after each call.
//
// For each chunk the consumer asks for pages to fill or to read; the producer adds pages and
// confirms this use. Unconfirmed pages are never used.
#pragma once

#include <array>
#include <optional>

#include "core/loan.hpp"
#include "lend/user_pipe.hpp"

namespace sluice::lend {

class DirectPipe {
 public:
  static constexpr uint32_t kSlots = UserPipe::kSlots;
  static constexpr uint32_t kPageBytes = UserPipe::kSlotBytes;
  static constexpr uint32_t kBytes = kSlots * kPageBytes;

  DirectPipe() = default;
  DirectPipe(const DirectPipe&) = delete;
  DirectPipe& operator=(const DirectPipe&) = delete;

  // --- The call. enter() returns false while another call uses the pipe.
  bool enter();
  void leave();

  // --- The consumer. Declares the use of the next chunk: fill it (destination), or read from it.
  // Resets the confirmation.
  void ask(Direction use);
  bool confirmed() const { return confirmed_; }
  // The lent bytes in the slots.
  View lent_bytes(Arena& arena) const;
  // Removes `bytes` from the tail, at most those in the pipe; the rest of a partly consumed slot
  // stays.
  void dismiss(uint32_t bytes);
  // Releases all pages and resets the confirmation.
  void clear();

  // --- The producer.
  Direction use() const { return use_; }
  // Adds the first bytes of `pages`, as many as 16 slots hold. Returns their number: 0 unless the
  // pipe was empty.
  uint32_t put(const View& pages);
  // The kernel's pipe, for pages of a file. EMFILE, EPERM: the kernel allows no more.
  Result<Pipe*> file_pages();
  void put_file_pages(uint32_t bytes) { file_bytes_ = bytes; }
  // Allows filling, or reading, these pages. Has no effect if the consumer did not ask for it.
  void confirm(Direction use);

  // --- The content.
  uint32_t slots() const { return head_ - tail_; }
  uint32_t bytes() const;
  uint32_t file_bytes() const { return file_bytes_; }
  bool empty() const { return bytes() == 0; }

 private:
  View pages_;                         // contains the slots
  std::array<Segment, kSlots> slots_;  // contiguous in pages_, from tail_ to head_
  uint32_t tail_ = 0;
  uint32_t head_ = 0;
  std::optional<UserPipe> kernel_pipe_;
  uint32_t file_bytes_ = 0;  // in the kernel's pipe; then no slot is in use
  Direction use_ = Direction::source;
  bool confirmed_ = false;
  bool entered_ = false;
};

}  // namespace sluice::lend
