// Buffer: memory of a target's own for one request, at an address that any direct I/O accepts.
//
// On the heap, hence not for targets that promise a steady state without allocation. Lives in a
// coroutine frame, declared before the PrivateLoan that lends it.
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
