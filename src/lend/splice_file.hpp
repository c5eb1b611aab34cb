// SpliceFile: an open file and its properties that matter to splice, read once, when the file is
// opened, so that the data path needs no system call. A plain value that owns nothing.
#pragma once

#include <cstdint>

#include "core/file.hpp"
#include "core/status.hpp"

namespace sluice::lend {

struct SpliceFile {
  File file;  // may be its slot, if registered with the ring
  bool readable = false;
  bool writable = false;
  bool seekable = false;
  bool appends = false;  // O_APPEND
  bool plain = false;    // a regular file

  // Control path. All properties are false if the descriptor is not open.
  static SpliceFile of(int descriptor);

  // Check that the file can be source or sink of a direct splice (S17). EBADF: not open for this
  // direction; EINVAL: not seekable, or O_APPEND.
  Status as_source() const;
  Status as_sink() const;
  // Checks that the file can fill a request's pages (S24, S25). EBADF: not open for reading;
  // EINVAL: not a regular file.
  Status as_read_consumer() const;
};

// EINVAL for offset -1, by which splice(2) means the file's own position, and for ranges beyond the
// largest file (S26).
Status check_range(uint64_t offset, uint64_t length);

}  // namespace sluice::lend
