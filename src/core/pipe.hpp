// Pipe: both ends of a pipe that holds lent pages. Neither end ever blocks.
//
// Owned by a lender (the pipe that holds a WRITE's pages) or by a ring's PipePool (spares). Used by
// one thread at a time.
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

  // In a spare that fills a READ: bytes put in and taken out since the pipe was last empty.
  uint32_t put_bytes = 0;
  uint32_t taken_bytes = 0;

  Pipe* next = nullptr;            // in the list of its holder
  std::unique_ptr<Buffer> bounce;  // in a spare: made when pages must be copied for the first time
};

}  // namespace sluice
