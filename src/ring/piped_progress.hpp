// PipedProgress: the progress of an Operation on a piped loan. A member of Operation.
#pragma once

#include <cstdint>

#include "core/pipe.hpp"

namespace sluice {

struct PipedProgress {
  Pipe* pipe = nullptr;        // the spare in use
  uint32_t staged = 0;         // bytes of a source in the spare or its bounce buffer ...
  uint32_t bounced = 0;        // ... those in the bounce buffer, which come first ...
  uint32_t bounce_done = 0;    // ... and those already written from it
  uint32_t fill_end = 0;       // end, in the loan, of the bytes in the spare
  bool cannot_splice = false;  // the kernel cannot splice these pages to or from this file
  bool synced = false;
};

}  // namespace sluice
