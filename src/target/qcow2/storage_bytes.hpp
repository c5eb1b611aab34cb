// StorageBytes: reads any bytes of a target, whatever its block size, for tables and headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "target/target.hpp"

namespace sluice::qcow2 {

class StorageBytes {
 public:
  explicit StorageBytes(Target& storage) : storage_(storage) {}

  // With the bytes of a file behind its last whole block, which the target leaves out.
  uint64_t exact_size() const;

  // What lies beyond the end reads as zeroes.
  Task read(Request& request, uint64_t offset, std::span<std::byte> bytes);

 private:
  Status read_tail(uint64_t offset, std::span<std::byte> bytes) const;

  Target& storage_;
};

}  // namespace sluice::qcow2
