// A temporary file without a name: it is gone with its last user, however that ends.
//
// Control path only.
#pragma once

#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

struct TemporaryFile {
  Descriptor descriptor;  // for reading and writing
  std::string directory;  // whose file system has it
};

// In $TMPDIR if that is an absolute path, or else in /var/tmp. Only where the file system knows no
// files without names (O_TMPFILE) it has one for a moment. Errors are messages for the user.
Result<TemporaryFile> make_temporary_file();

}  // namespace sluice
