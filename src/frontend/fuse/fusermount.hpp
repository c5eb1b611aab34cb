// fusermount3, the set-user-id helper that mounts and unmounts for users without privilege.
//
// Control path only; waits for the helper. Its own words go to the standard error.
#pragma once

#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice::fuse {

// /dev/fuse, mounted at `at`. ENOENT: there is no fusermount3.
Result<Descriptor> mount_by_fusermount(const std::string& at, const std::string& options);
// EBUSY while it is in use, unless `lazily`.
Result<void> unmount_by_fusermount(const std::string& at, bool lazily);

}  // namespace sluice::fuse
