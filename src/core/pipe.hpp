// Pipe: both ends of a pipe that holds lent pages. Neither end ever blocks.
//
// Owned by a lender (the pipe that a WRITE's pages came in) or by a ring's PipePool (spares). Used
// by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/buffer.hpp"
#include "core/descriptor.hpp"

namespace sluice {

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;

  // Of a spare that holds what fills a READ: bytes put in, and bytes taken out, since it was empty.
  uint32_t put_bytes = 0;
  uint32_t taken_bytes = 0;

  Pipe* next = nullptr;            // in the list of who holds it
  std::unique_ptr<Buffer> bounce;  // of a spare: made when pages first have to be copied
};

}  // namespace sluice
