// File: an open file as the ring sees it: a descriptor, or a slot of the ring's registered files.
// A plain value that owns nothing.
#pragma once

#include <cstdint>

namespace sluice {

struct File {
  int32_t number = -1;      // descriptor, or slot where `registered`
  bool registered = false;  // slots are the same in every ring of a device

  bool valid() const { return number >= 0; }
};

}  // namespace sluice
