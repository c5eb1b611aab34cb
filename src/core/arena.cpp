#include "core/arena.hpp"

#include <cassert>
#include <new>

namespace sluice {

static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= Arena::kAlignment);

// Zero-filled, which faults in the pages: no request may wait for them.
Arena::Arena(size_t chunk_bytes)
    : chunk_(std::make_unique<std::byte[]>(round_up(chunk_bytes))),
      chunk_bytes_(round_up(chunk_bytes)) {}

void Arena::reset() noexcept {
  used_ = 0;
  kept_lists_ = 0;
  if (heap_.empty()) return;
  chunk_bytes_ += heap_bytes_;
  heap_bytes_ = 0;
  heap_.clear();
  chunk_ = std::make_unique<std::byte[]>(chunk_bytes_);
}

void* Arena::allocate_from_heap(size_t rounded_bytes) noexcept {
  ++overflows_;
  heap_bytes_ += rounded_bytes;
  heap_.push_back(std::make_unique_for_overwrite<std::byte[]>(rounded_bytes));
  return heap_.back().get();
}

void Arena::keep(void* place, size_t rounded_bytes) noexcept {
  if (rounded_bytes == 0) return;
  assert(!(place >= chunk_.get() + used_ && place < chunk_.get() + chunk_bytes_) &&
         "objects in the arena are destroyed before reset()");
  static_assert(sizeof(Kept) <= kAlignment);
  const size_t list = list_of(rounded_bytes);
  const uint32_t bit = 1U << list;
  Kept* const next = (kept_lists_ & bit) != 0 ? kept_[list] : nullptr;
  kept_[list] = new (place) Kept{next, rounded_bytes};
  kept_lists_ |= bit;
}

void* Arena::take_kept(size_t rounded_bytes) noexcept {
  const size_t list = list_of(rounded_bytes);
  const uint32_t bit = 1U << list;
  if ((kept_lists_ & bit) == 0) return nullptr;
  for (Kept** place = &kept_[list]; *place != nullptr; place = &(*place)->next) {
    Kept* const found = *place;
    if (found->rounded_bytes != rounded_bytes) continue;
    *place = found->next;
    if (kept_[list] == nullptr) kept_lists_ &= ~bit;
    return found;
  }
  return nullptr;
}

}  // namespace sluice
