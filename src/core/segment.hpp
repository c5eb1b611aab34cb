// Segment: a piece of a loan: bytes [offset, offset + length).
#pragma once

#include <cstdint>

namespace sluice {

struct Segment {
  uint32_t offset = 0;
  uint32_t length = 0;

  uint32_t end() const { return offset + length; }
  friend bool operator==(const Segment&, const Segment&) = default;
};

}  // namespace sluice
