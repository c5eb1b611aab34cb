// Secret: the bytes of a passphrase or a key, with their length: locked in memory as far as the
// process may, wiped at the end. It is never printed.
//
// A process that has had one is not dumpable any more (PR_SET_DUMPABLE): it leaves no core file,
// and other processes of its user cannot look into its memory, or take its descriptors.
//
// A value that can be moved, not copied by accident. Control path.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice::crypt {

class Secret {
 public:
  Secret() = default;
  // `size` zeroes. ENOMEM: there is no memory.
  static Result<Secret> create(size_t size);
  static Result<Secret> copy_of(std::span<const std::byte> bytes);
  // In a file without a name, which can be passed to another process; processes forked from here
  // do not have the bytes in their memory.
  static Result<Secret> in_file(std::span<const std::byte> bytes, Descriptor& file);
  // A copy of what such a file holds. EINVAL: it is none.
  static Result<Secret> from_file(int file);
  Secret(Secret&& other) noexcept
      : memory_(std::exchange(other.memory_, {})), size_(std::exchange(other.size_, 0)) {}
  Secret& operator=(Secret&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Secret();

  std::span<std::byte> bytes() { return memory_.first(size_); }
  std::span<const std::byte> bytes() const { return memory_.first(size_); }
  size_t size() const { return size_; }
  char* text() { return reinterpret_cast<char*>(memory_.data()); }
  // `size`: at most the present one.
  void shorten(size_t size);

 private:
  explicit Secret(std::span<std::byte> memory, size_t size) : memory_(memory), size_(size) {}
  static Result<Secret> map(size_t size, int flags, int file);

  std::span<std::byte> memory_;  // whole pages
  size_t size_ = 0;
};

}  // namespace sluice::crypt
