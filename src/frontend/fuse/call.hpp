// Call: one FUSE request as it came in, still in the buffer of its tag; Answer: what goes back.
//
// Plain values that own nothing. What is read out of a Call is copied: the buffer is used again for
// the answer. All of it comes from outside and is checked here.
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
  std::span<const std::byte> payload;    // what follows it: the data of a WRITE

  // The operation's structure; nothing where the request is too short for one.
  template <typename T>
  std::optional<T> argument() const {
    if (arguments.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, arguments.data(), sizeof(T));
    return value;
  }

  // The name of a LOOKUP, without its final zero; empty where there is none.
  std::string_view name() const;
};

struct Answer {
  int error = 0;        // positive errno
  uint32_t length = 0;  // bytes of the answer, at the beginning of the tag's data ...
  bool apart = false;   // ... or apart from it, where the data is still needed
  bool piped = false;   // ... or in the pipes that have filled the tag's loan
  bool expected = true;
};

// A request as read(2) of /dev/fuse gives it. Nothing where it contradicts itself.
std::optional<Call> parse_call(std::span<const std::byte> frame);

}  // namespace sluice::fuse
