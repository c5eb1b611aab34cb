// BareFile: an open file that holds the bytes of a target, unchanged and contiguous. The stack owns
// the descriptor.
#pragma once

#include <cstdint>

namespace sluice {

struct BareFile {
  int descriptor = -1;
  uint64_t begin_bytes = 0;         // where in the file the target begins
  bool through_page_cache = false;  // the target reads and writes it there
};

}  // namespace sluice
