// Arena: the memory of one request on its way through the stack: coroutine frames, child requests,
// segment lists. Everything in it dies together, at reset(), when the request is committed.
//
// Owned by a tag of a front end, used by that tag's thread only. Allocation is a pointer bump. What
// does not fit goes to the heap and is counted: the count is zero in the steady state, and tests
// fail when it is not. After an overflow reset() makes the chunk as large as the request needed.
#pragma once

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
    if (rounded <= chunk_bytes_ - used_) {
      void* place = chunk_.get() + used_;
      used_ += rounded;
      return place;
    }
    return allocate_from_heap(rounded);
  }

  // Gives back the newest allocation; anything else waits for reset(). Frames of children that run
  // one after the other reuse the same bytes this way.
  void release(void* place, size_t bytes) noexcept {
    const size_t rounded = round_up(bytes);
    if (used_ >= rounded && place == chunk_.get() + (used_ - rounded)) used_ -= rounded;
  }

  // `count` objects, not initialised; T must not need a destructor.
  template <typename T>
  std::span<T> array(size_t count) noexcept {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlignment);
    return {static_cast<T*>(allocate(count * sizeof(T))), count};
  }

  void reset() noexcept;

  // How often allocate() had to use the heap, since construction.
  uint64_t overflows() const { return overflows_; }
  size_t used_bytes() const { return used_ + heap_bytes_; }

 private:
  static constexpr size_t round_up(size_t bytes) {
    return (bytes + kAlignment - 1) & ~(kAlignment - 1);
  }
  void* allocate_from_heap(size_t rounded_bytes) noexcept;

  std::unique_ptr<std::byte[]> chunk_;
  size_t chunk_bytes_;
  size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> heap_;
  size_t heap_bytes_ = 0;
  uint64_t overflows_ = 0;
};

}  // namespace sluice
