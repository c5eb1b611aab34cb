// Frames: FUSE requests as the kernel would send them, for tests.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "frontend/fuse/call.hpp"

namespace sluice::test {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes bytes_of(const T& value) {
  Bytes bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline Bytes text_bytes(std::string_view text) {
  Bytes bytes(text.size() + 1);
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

inline Bytes make_frame(uint32_t opcode, uint64_t node, const Bytes& arguments = {},
                        const Bytes& payload = {}, uint64_t unique = 7) {
  fuse_in_header header{};
  header.opcode = opcode;
  header.nodeid = node;
  header.unique = unique;
  header.len = static_cast<uint32_t>(sizeof(header) + arguments.size() + payload.size());
  Bytes frame = bytes_of(header);
  frame.insert(frame.end(), arguments.begin(), arguments.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

inline Bytes write_arguments(uint64_t offset, uint32_t size, uint32_t open_flags = 0) {
  fuse_write_in write{};
  write.offset = offset;
  write.size = size;
  write.flags = open_flags;
  return bytes_of(write);
}

inline Bytes read_arguments(uint64_t offset, uint32_t size) {
  fuse_read_in read{};
  read.offset = offset;
  read.size = size;
  return bytes_of(read);
}

template <typename T>
T value_in(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof(T), bytes.size()));
  return value;
}

}  // namespace sluice::test
