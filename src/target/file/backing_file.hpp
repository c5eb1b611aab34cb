// BackingFile: the regular file or block device behind a target: opened with direct I/O if
// possible, inspected and locked.
//
// Control path only: made by a target's open function, which passes the descriptor to the stack.
#pragma once

#include <memory>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/geometry.hpp"

namespace sluice {

class FileSlices;
class StackFiles;

struct BackingFile {
  struct Options {
    bool read_only = false;
    bool buffered_io = false;  // through the page cache even if O_DIRECT is possible
    bool force = false;        // even if a loop device of the kernel uses the file
    bool unlocked = false;     // whatever other programs do with the file; for reading only
    bool lock_later = false;   // the target that gets it has the file open, and moves its lock
    bool to_the_byte = false;  // through the page cache if direct I/O cannot reach the file's end
    StackFiles* stack_files = nullptr;  // of the stack that it is opened for
  };

  // Opens and locks the file (lock_file()), claims a writable block device (O_EXCL), so that it
  // cannot be mounted, and checks for other users (check_unused()); the stack itself is none. All
  // checks apply to the opened file, even if its name changes meanwhile. Errors are messages for
  // the user: the obstacle, and what to do.
  static Result<BackingFile> open(const std::string& path, const Options& options);

  // Takes over a descriptor that another server opened with open(), and locked. `name` is for
  // messages.
  static Result<BackingFile> adopt(Descriptor descriptor, const std::string& name,
                                   const Options& options);

  // Opens a file without a name again, of which `descriptor` is open, for reading and writing:
  // without direct I/O if that takes larger blocks. Nobody else can have it: it is not locked.
  static Result<BackingFile> open_nameless(int descriptor, const std::string& name,
                                           uint32_t block_bytes_max);

  // Creates an anonymous sparse file in memory.
  static Result<BackingFile> create_in_memory(uint64_t size_bytes);

  Descriptor descriptor;
  bool block_device = false;
  bool direct = false;                 // opened with O_DIRECT
  bool claims = false;                 // opened with O_EXCL
  std::shared_ptr<FileSlices> slices;  // the same file in the stack, this one not yet among them
  Geometry geometry;                   // of the whole file; the size is not rounded to blocks
  std::string swap_risk;               // see Target::swap_risk()
};

}  // namespace sluice
