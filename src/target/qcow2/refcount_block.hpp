// The refcounts in the bytes of a refcount block, or of a part of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::qcow2 {

// `order`: 0 to 6, a refcount has 1 << order bits. Refcounts of less than a byte begin at the least
// significant bit; larger ones are big-endian. `index` is in the bytes; `value` fits.
uint64_t get_refcount(std::span<const std::byte> bytes, uint32_t order, uint64_t index);
void set_refcount(std::span<std::byte> bytes, uint32_t order, uint64_t index, uint64_t value);

}  // namespace sluice::qcow2
