#include "core/arena.hpp"

namespace sluice {

static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= Arena::kAlignment);

// make_unique_for_overwrite: the pages are not touched before a request needs them.
Arena::Arena(size_t chunk_bytes)
    : chunk_(std::make_unique_for_overwrite<std::byte[]>(round_up(chunk_bytes))),
      chunk_bytes_(round_up(chunk_bytes)) {}

void Arena::reset() noexcept {
  used_ = 0;
  if (heap_.empty()) return;
  chunk_bytes_ += heap_bytes_;
  heap_bytes_ = 0;
  heap_.clear();
  chunk_ = std::make_unique_for_overwrite<std::byte[]>(chunk_bytes_);
}

void* Arena::allocate_from_heap(size_t rounded_bytes) noexcept {
  ++overflows_;
  heap_bytes_ += rounded_bytes;
  heap_.push_back(std::make_unique_for_overwrite<std::byte[]>(rounded_bytes));
  return heap_.back().get();
}

}  // namespace sluice
