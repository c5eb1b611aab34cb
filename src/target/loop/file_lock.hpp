// The lock that keeps a file from being attached for writing twice.
//
// Open file description locks on single bytes, laid out as QEMU's file driver does, so that
// qemu-img, qemu-storage-daemon and we exclude one another: byte 100 + n is held by who uses
// permission n, byte 200 + n by who does not share permission n with others (QEMU:
// block/file-posix.c). All are read locks, so that they never conflict by themselves; each party
// takes its own and then looks at those of the others.
//
// Control path only. A lock belongs to the open file, and ends with it or with unlock_file().
#pragma once

#include <string_view>

#include "core/error.hpp"

namespace sluice {

// For writing: nobody else may write or resize, and readers must allow for us. For reading: nobody
// may write or resize. EBUSY when somebody else is in the way. A file system without such locks is
// logged and does not fail. `path` is for the texts.
Result<void> lock_file(int descriptor, bool for_writing, std::string_view path);

void unlock_file(int descriptor);

}  // namespace sluice
