// The lock that prevents attaching a file for writing twice.
//
// Open file description locks on single bytes, in the layout of QEMU's file driver
// (block/file-posix.c), so that qemu-img, qemu-storage-daemon and Sluice exclude one another: a
// lock of byte 100 + n means that its holder uses permission n, of byte 200 + n that it does not
// share permission n. All are read locks, which never conflict; each party takes its own and then
// checks for those of the others.
//
// Control path only. A lock belongs to the open file, and ends with it or with unlock_file().
#pragma once

#include <span>
#include <string_view>

#include "core/error.hpp"

namespace sluice {

// For writing: no other program may write or resize, and readers must share the write permission.
// For reading: no other program may write or resize. EBUSY if a lock conflicts for a second; a
// shorter conflict may come from a server that has just ended. A file system without such locks is
// logged and is no error. `path` is for messages.
Result<void> lock_file(int descriptor, bool for_writing, std::string_view path);

struct HeldLock {
  int descriptor = -1;
  bool for_writing = false;
};

// The same for a file that this stack has open already, with the locks `own`: they are in nobody's
// way, and exclude others at every moment.
Result<void> lock_file_beside(std::span<const HeldLock> own, int descriptor, bool for_writing,
                              std::string_view path);

// Makes a lock for writing one for reading, of a file that is only read from now on.
void lock_for_reading_only(int descriptor);

// The lock for reading of one open file becomes one for writing of another, which the same process
// has of the same file: there is no moment without a lock. EBUSY: others use the file, at this
// moment, and the lock is as before.
Result<void> move_lock_for_writing(int from, int to, std::string_view path);
// The way back.
void move_lock_for_reading(int from, int to);

void unlock_file(int descriptor);

// True if locks of others conflict. Takes no lock, works on any open file, and does not log.
bool others_have_locked(int descriptor, bool for_writing);

}  // namespace sluice
