#include "lend/direct_pipe.hpp"

#include <algorithm>
#include <utility>

namespace sluice::lend {

bool DirectPipe::enter() { return !std::exchange(entered_, true); }

void DirectPipe::leave() {
  clear();
  entered_ = false;
}

void DirectPipe::ask(Direction use) {
  use_ = use;
  confirmed_ = false;
}

void DirectPipe::confirm(Direction use) { confirmed_ = use == use_; }

uint32_t DirectPipe::put(const View& pages) {
  if (!empty() || pages.length() == 0) return 0;
  pages_ = pages;
  tail_ = head_ = 0;
  uint32_t in_page = pages.segments()[0].offset % kPageBytes;
  uint32_t done = 0;
  while (done < pages.length() && head_ < kSlots) {
    const uint32_t length = std::min(pages.length() - done, kPageBytes - in_page);
    slots_[head_++] = {done, length};
    done += length;
    in_page = 0;
  }
  return done;
}

Result<Pipe*> DirectPipe::file_pages() {
  if (!kernel_pipe_) {
    auto made = UserPipe::make();
    if (!made) return std::unexpected(made.error());
    kernel_pipe_.emplace(std::move(*made));
  }
  return &kernel_pipe_->pipe();
}

// The slots are contiguous: one piece.
View DirectPipe::lent_bytes(Arena& arena) const {
  return slots() == 0 ? View::broken(EINVAL) : pages_.slice(slots_[tail_].offset, bytes(), arena);
}

void DirectPipe::dismiss(uint32_t bytes) {
  bytes = std::min(bytes, this->bytes());
  if (file_bytes_ != 0) {
    file_bytes_ -= bytes;  // the kernel has consumed them
    return;
  }
  while (bytes != 0) {
    Segment& slot = slots_[tail_];
    const uint32_t step = std::min(bytes, slot.length);
    slot = {slot.offset + step, slot.length - step};
    if (slot.length == 0) ++tail_;
    bytes -= step;
  }
  if (slots() == 0) pages_.drop();
}

void DirectPipe::clear() {
  tail_ = head_ = 0;
  pages_.drop();
  if (file_bytes_ != 0) kernel_pipe_->clear();
  file_bytes_ = 0;
  confirmed_ = false;
}

uint32_t DirectPipe::bytes() const {
  if (slots() == 0) return file_bytes_;
  return slots_[head_ - 1].end() - slots_[tail_].offset;
}

}  // namespace sluice::lend
