// Arena: the memory of one request on its way through the stack: coroutine frames, child requests,
// segment lists. All of it is freed together, by reset(), when the request is committed.
//
// Owned by a tag of a front end, used by that tag's thread only. Allocation is a pointer bump.
// Memory released out of order is kept for the next allocation of the same size, so that a request
// of any length, served part by part, needs no more than its concurrent parts. An allocation that
// does not fit comes from the heap and is counted: the count is zero in the steady state, and tests
// check it. After an overflow reset() makes the chunk as large as the request needed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace sluice {

class Arena {
 public:
  static constexpr size_t kAlignment = 16;
  static constexpr size_t kDefaultChunkBytes = 8752;

  explicit Arena(size_t chunk_bytes = kDefaultChunkBytes);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Never fails: out of memory ends the process.
  void* allocate(size_t bytes) noexcept {
    const size_t rounded = round_up(bytes);
    if (kept_lists_ != 0) {
      if (void* const place = take_kept(rounded)) return place;
    }
    if (rounded <= chunk_bytes_ - used_) {
      void* place = chunk_.get() + used_;
      used_ += rounded;
      return place;
    }
    return allocate_from_heap(rounded);
  }

  // Releases an allocation: the newest is undone; any other is kept for the next allocation of the
  // same size. Frames of children that run one after the other, or in several parallel sequences,
  // reuse the same bytes.
  void release(void* place, size_t bytes) noexcept {
    const size_t rounded = round_up(bytes);
    if (used_ >= rounded && place == chunk_.get() + (used_ - rounded)) {
      used_ -= rounded;
    } else {
      keep(place, rounded);
    }
  }

  // `count` objects, not initialised; T must not need a destructor.
  template <typename T>
  std::span<T> array(size_t count) noexcept {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlignment);
    return {static_cast<T*>(allocate(count * sizeof(T))), count};
  }

  void reset() noexcept;

  // The number of allocations from the heap since construction.
  uint64_t overflows() const { return overflows_; }
  size_t used_bytes() const { return used_ + heap_bytes_; }

 private:
  static constexpr size_t round_up(size_t bytes) {
    return (bytes + kAlignment - 1) & ~(kAlignment - 1);
  }
  void* allocate_from_heap(size_t rounded_bytes) noexcept;
  void keep(void* place, size_t rounded_bytes) noexcept;
  void* take_kept(size_t rounded_bytes) noexcept;

  // Memory released out of order, in a few lists by size; there are not many sizes.
  struct Kept {
    Kept* next;
    size_t rounded_bytes;
  };
  static constexpr size_t kLists = 8;
  static size_t list_of(size_t rounded_bytes) { return rounded_bytes / kAlignment % kLists; }

  std::unique_ptr<std::byte[]> chunk_;
  size_t chunk_bytes_;
  size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> heap_;
  size_t heap_bytes_ = 0;
  uint64_t overflows_ = 0;
  uint32_t kept_lists_ = 0;  // a bit for each non-empty list; the others are not initialised
  std::array<Kept*, kLists> kept_;
};

}  // namespace sluice
