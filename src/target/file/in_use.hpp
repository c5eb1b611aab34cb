// Checks that a file to attach is not in use by the kernel or, through a lower device, by others.
//
// Locks and claims only exclude programs that use them: other servers, QEMU, mount. A loop device
// uses neither, but writes to its file. Attaching a loop device also means using its file, without
// a lock on that file.
//
// Control path only. Never blocks on a file system that hangs.
#pragma once

#include <string>

#include "core/error.hpp"

namespace sluice {

// EBUSY, with the user: a loop device on the same file, or on a part of the same disk, under any
// name, or swap on it; for a block device that is made from others, also a user of one of those, or
// a program that has locked it. Readers do not conflict with readers. Files that could not be
// inspected are logged. `descriptor`: the open file of `path`.
Result<void> check_unused(int descriptor, const std::string& path, bool for_writing);

}  // namespace sluice
