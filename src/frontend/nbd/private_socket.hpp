// A socket file in a directory of its own that no other user can enter, for clients that are told
// its name.
//
// System calls for the control path.
#pragma once

#include <string>

#include "core/error.hpp"

namespace sluice::nbd {

// Makes the directory, below $TMPDIR or /tmp, and returns the path for a socket in it.
Result<std::string> make_private_place();

// The directory of this socket file, if the function above has made it: it goes with the file.
// Otherwise empty.
std::string private_directory_of(const std::string& file);

}  // namespace sluice::nbd
