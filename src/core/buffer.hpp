// Buffer: a target's own memory for one request, aligned for any direct I/O.
//
// It is allocated on the heap, so targets that promise a steady state without allocation cannot use
// it. Lives in a coroutine frame, declared before the PrivateLoan that lends it.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace sluice {

class Buffer {
 public:
  static constexpr std::align_val_t kAlignment{4096};

  // Not initialised.
  explicit Buffer(size_t bytes)
      : memory_(static_cast<std::byte*>(::operator new(bytes, kAlignment))), bytes_(bytes) {}

  std::span<std::byte> bytes() const { return {memory_.get(), bytes_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_;
};

}  // namespace sluice
