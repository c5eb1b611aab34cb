#include "target/loop/file_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>

#include "spec/shown.hpp"

namespace sluice {
namespace {

// QEMU's permissions, as bits of a set.
constexpr unsigned kConsistentRead = 1U << 0;
constexpr unsigned kWrite = 1U << 1;
constexpr unsigned kWriteUnchanged = 1U << 2;
constexpr unsigned kResize = 1U << 3;
constexpr unsigned kAll = kConsistentRead | kWrite | kWriteUnchanged | kResize;
constexpr unsigned kPermissionCount = 4;

constexpr off_t kUsedBytes = 100;
constexpr off_t kUnsharedBytes = 200;

bool take(int descriptor, off_t first_byte, unsigned permissions);
bool others_hold(int descriptor, off_t first_byte, unsigned permissions);
std::unexpected<Error> in_the_way(bool for_writing, bool written, std::string_view path);

}  // namespace

Result<void> lock_file(int descriptor, bool for_writing, std::string_view path) {
  const unsigned used = for_writing ? kConsistentRead | kWrite : kConsistentRead;
  const unsigned shared = for_writing ? kConsistentRead : kConsistentRead | kWriteUnchanged;
  const unsigned unshared = kAll & ~shared;
  if (!take(descriptor, kUsedBytes, used) || !take(descriptor, kUnsharedBytes, unshared)) {
    if (errno == EAGAIN || errno == EACCES) return in_the_way(for_writing, true, path);
    spdlog::warn("{} cannot be locked ({}): nothing keeps other programs from writing to it",
                 shown(path), std::strerror(errno));
    return {};
  }
  if (others_hold(descriptor, kUsedBytes, unshared)) return in_the_way(for_writing, true, path);
  if (others_hold(descriptor, kUnsharedBytes, used)) return in_the_way(for_writing, false, path);
  return {};
}

void unlock_file(int descriptor) {
  struct flock lock{};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kUsedBytes;
  lock.l_len = kUnsharedBytes + kPermissionCount - kUsedBytes;
  fcntl(descriptor, F_OFD_SETLK, &lock);
}

namespace {

// One byte of the lock area.
struct flock lock_of(short type, off_t first_byte, unsigned permission) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = first_byte + permission;
  lock.l_len = 1;
  return lock;
}

bool take(int descriptor, off_t first_byte, unsigned permissions) {
  for (unsigned permission = 0; permission < kPermissionCount; ++permission) {
    if ((permissions >> permission & 1U) == 0) continue;
    struct flock lock = lock_of(F_RDLCK, first_byte, permission);
    if (fcntl(descriptor, F_OFD_SETLK, &lock) != 0) return false;
  }
  return true;
}

bool others_hold(int descriptor, off_t first_byte, unsigned permissions) {
  for (unsigned permission = 0; permission < kPermissionCount; ++permission) {
    if ((permissions >> permission & 1U) == 0) continue;
    struct flock lock = lock_of(F_WRLCK, first_byte, permission);
    if (fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) return true;
  }
  return false;
}

std::unexpected<Error> in_the_way(bool for_writing, bool written, std::string_view path) {
  if (written) {
    return fail(EBUSY,
                fmt::format("{} is attached for writing elsewhere, here or in a QEMU program:"
                            " detach it there first",
                            shown(path)));
  }
  return fail(EBUSY, fmt::format("{} is in use elsewhere by a program that lets nobody else {} it:"
                                 " detach it there first{}",
                                 shown(path), for_writing ? "write to" : "read",
                                 for_writing ? ", or give the option read_only" : ""));
}

}  // namespace
}  // namespace sluice
