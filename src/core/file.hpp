// File: how an SQE names an open file: a descriptor, or a slot of the ring's registered files. A
// plain value that owns nothing.
#pragma once

#include <cstdint>

namespace sluice {

struct File {
  int32_t number = -1;      // descriptor, or slot if `registered`
  bool registered = false;  // a slot is the same in every ring: FileSlot

  bool valid() const { return number >= 0; }
};

}  // namespace sluice
