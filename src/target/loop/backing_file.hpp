// BackingFile: the regular file or block device behind a target, opened in the best way it can be
// had, looked at and locked.
//
// Control path only: made by an open function, which passes the descriptor on to the stack.
#pragma once

#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/geometry.hpp"

namespace sluice {

struct BackingFile {
  struct Wishes {
    bool read_only = false;
    bool buffered_io = false;  // through the page cache, where O_DIRECT would be had
  };

  // Errors are for the user: what is in the way, and what to do. The file is locked as lock_file()
  // says; a block device that is to be written is claimed as well (O_EXCL), so that nobody mounts
  // it.
  static Result<BackingFile> open(const std::string& path, const Wishes& wishes);

  // An anonymous file in memory, `size_bytes` long and all holes.
  static Result<BackingFile> create_in_memory(uint64_t size_bytes);

  Descriptor descriptor;
  bool block_device = false;
  bool direct = false;  // opened with O_DIRECT
  Geometry geometry;    // of the whole file; its size as found, not rounded to blocks
};

}  // namespace sluice
