// Call: one FUSE request, in the buffer of its tag; Answer: its reply.
//
// Plain values that own nothing. Accessors of Call copy: the buffer is reused for the answer. A
// Call is untrusted input and is checked here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "frontend/fuse/abi.hpp"

namespace sluice::fuse {

struct Call {
  fuse_in_header header{};
  std::span<const std::byte> arguments;  // the operation's structure
  std::span<const std::byte> payload;    // the rest: the data of a WRITE

  // The operation's structure; nullopt if the request is too short.
  template <typename T>
  std::optional<T> argument() const {
    if (arguments.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, arguments.data(), sizeof(T));
    return value;
  }

  // Updates the spans after the request moved from `before` to `frame`, which may be shorter.
  void move(const std::byte* before, std::span<const std::byte> frame);

  // The name of a LOOKUP, without its final NUL; empty if invalid.
  std::string_view name() const;
};

struct Answer {
  int error = 0;        // positive errno
  uint32_t length = 0;  // bytes of the answer, at the start of the tag's data ...
  bool apart = false;   // ... or in separate memory, if the data is still needed
  bool piped = false;   // ... or in the pipes that filled the tag's loan
  bool expected = true;
};

// Parses a request from read(2) of /dev/fuse. nullopt: its lengths are inconsistent.
std::optional<Call> parse_call(std::span<const std::byte> frame);

}  // namespace sluice::fuse
