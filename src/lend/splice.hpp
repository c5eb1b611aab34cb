// splice(): OP_SPLICE as an awaitable. The result is the kernel's: bytes moved, possibly fewer than
// requested, or a negative errno. The kernel runs it on a worker thread (S13).
#pragma once

#include "ring/operation.hpp"
#include "ring/raw_operation.hpp"

namespace sluice::lend {

// A file and an offset in it; a pipe has no offset.
struct SpliceEnd {
  File file;
  uint64_t offset = 0;
};

RawOperation splice(Ring& ring, SpliceEnd from, const Pipe& to, uint32_t length, uint32_t flags);
RawOperation splice(Ring& ring, const Pipe& from, SpliceEnd to, uint32_t length);

}  // namespace sluice::lend
