// PipedProgress: how far an Operation on a piped loan has come. A part of it.
#pragma once

#include <cstdint>

#include "core/pipe.hpp"

namespace sluice {

class Operation;

struct PipedProgress {
  Pipe* pipe = nullptr;        // the spare in use
  Operation* next = nullptr;   // among those that wait for one
  uint32_t staged = 0;         // bytes of a source that are in the spare or its bounce buffer ...
  uint32_t bounced = 0;        // ... the first of them in the bounce buffer ...
  uint32_t bounce_done = 0;    // ... behind those that were written from it
  uint32_t fill_end = 0;       // where in the loan the last bytes of the spare belong
  bool cannot_splice = false;  // the kernel does not splice these pages to or from this file
  bool synced = false;
};

}  // namespace sluice
