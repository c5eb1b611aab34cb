// Messages for a file that cannot be attached: the obstacle, and what to do about it.
//
// Control path only. Inspects the file again to give the right advice; opens it for reading at
// most.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/error.hpp"

namespace sluice {

// stat() failed with `error`.
std::unexpected<Error> cannot_find(const std::string& path, int error);

// The file exists, but is neither a regular file nor a block device.
std::unexpected<Error> is_no_backing_file(const std::string& path, mode_t mode);

// open() with `flags` failed with `error`.
std::unexpected<Error> cannot_open(const std::string& path, int error, int flags,
                                   bool block_device);

}  // namespace sluice
