// SpliceFile: an open file and what splice asks of it, looked at once, when the file is opened: the
// data path asks the kernel nothing. A plain value that owns nothing.
#pragma once

#include <cstdint>

#include "core/file.hpp"
#include "core/status.hpp"

namespace sluice::lend {

struct SpliceFile {
  File file;  // where the ring has it registered, its slot may be put here
  bool readable = false;
  bool writable = false;
  bool seekable = false;
  bool appends = false;  // O_APPEND
  bool plain = false;    // a regular file

  // Control path. Of what is not open nothing is true.
  static SpliceFile of(int descriptor);

  // As what a direct splice takes bytes from or puts them into (S17). EBADF: not open for that;
  // EINVAL: no offsets in it, or O_APPEND.
  Status as_source() const;
  Status as_sink() const;
  // As what a request's pages are filled from (S24, S25). EBADF: not open for reading; EINVAL: not
  // a regular file.
  Status as_read_consumer() const;
};

// EINVAL for -1, which splice(2) takes for "the file's own position", and for what no file has
// (S26).
Status check_range(uint64_t offset, uint64_t length);

}  // namespace sluice::lend
