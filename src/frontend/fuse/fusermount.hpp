// fusermount3, the set-user-ID helper that mounts and unmounts for unprivileged users.
//
// Control path only; waits for the helper. The helper's messages go to the standard error output.
#pragma once

#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice::fuse {

// Mounts at `at` and returns /dev/fuse. ENOENT: there is no fusermount3.
Result<Descriptor> mount_by_fusermount(const std::string& at, const std::string& options);
// EBUSY: in use, unless `lazily`.
Result<void> unmount_by_fusermount(const std::string& at, bool lazily);

}  // namespace sluice::fuse
