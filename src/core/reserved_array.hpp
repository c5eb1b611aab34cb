// ReservedArray: an array of a fixed capacity of which only what is used takes memory.
//
// Its address space is reserved at once, so that it can be used up to any length without being
// moved while other threads read it. A page comes to be when it is touched first; every value
// begins as zero bytes.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace sluice {

template <typename T>
class ReservedArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  // Throws std::bad_alloc.
  explicit ReservedArray(uint64_t capacity) : bytes_(capacity * sizeof(T)) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* const memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    values_ = static_cast<T*>(memory);
  }
  ReservedArray(const ReservedArray&) = delete;
  ReservedArray& operator=(const ReservedArray&) = delete;
  ~ReservedArray() { munmap(values_, bytes_); }

  T& operator[](uint64_t index) const { return values_[index]; }

 private:
  const size_t bytes_;
  T* values_ = nullptr;
};

}  // namespace sluice
