// DirectPipe: the pipe through which a direct splice takes its bytes, chunk by chunk (S18, S27 to
// S32, S40 to S43). Nobody else sees it: 16 slots, each a piece of lent pages that lies in one
// page, held by reference. Pages of a file are in a pipe of the kernel behind it, made on first
// use.
//
// Owned by a server, one for each request in flight (the mails: one for each task), used by its
// ring's thread for one call at a time. A call finds it empty and leaves it empty.
//
// For each chunk the consumer asks for pages to fill or to read; the producer puts them in and
// confirms what they are for. What was not confirmed is never used.
#pragma once

#include <array>
#include <optional>

#include "core/view.hpp"
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

  // --- The call.
  // False while another call uses the pipe.
  bool enter();
  void leave();

  // --- The consumer.
  // What it does with the next chunk: fill it (destination), or read from it. Nothing is confirmed.
  void ask(Direction use);
  bool confirmed() const { return confirmed_; }
  // The lent bytes that wait in the slots.
  View lent_bytes(Arena& arena) const;
  // Retires exactly so many bytes from the tail: of a slot that is partly done the rest stays.
  void dismiss(uint32_t bytes);
  // Lets go of everything, also of what was confirmed.
  void clear();

  // --- The producer.
  Direction use() const { return use_; }
  // Puts in the first bytes of `pages`, as many as 16 slots hold. Returns how many: none while
  // there are others.
  uint32_t put(const View& pages);
  // The kernel's pipe, for pages of a file. EMFILE, EPERM: it allows no more.
  Result<Pipe*> file_pages();
  void put_file_pages(uint32_t bytes) { file_bytes_ = bytes; }
  // These pages may be filled, or read from. Of no use if that was not asked.
  void confirm(Direction use);

  // --- What is in it.
  uint32_t slots() const { return head_ - tail_; }
  uint32_t bytes() const;
  uint32_t file_bytes() const { return file_bytes_; }
  bool empty() const { return bytes() == 0; }

 private:
  View pages_;                         // where the slots lie
  std::array<Segment, kSlots> slots_;  // side by side in them, from tail_ to head_
  uint32_t tail_ = 0;
  uint32_t head_ = 0;
  std::optional<UserPipe> kernel_pipe_;
  uint32_t file_bytes_ = 0;  // in the kernel's pipe; then no slot is in use
  Direction use_ = Direction::source;
  bool confirmed_ = false;
  bool entered_ = false;
};

}  // namespace sluice::lend
