#include "target/file/file_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/log.hpp"
#include "core/retry.hpp"
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

// The kernel frees the rings of a process after the process has ended; until then their registered
// files stay open.
constexpr std::chrono::milliseconds kGhostTimeout{1000};

constexpr off_t kUsedBytes = 100;
constexpr off_t kUnsharedBytes = 200;

// The permissions that an attachment uses, and the permissions that it does not share.
struct Claim {
  unsigned used;
  unsigned unshared;
};
constexpr Claim claim(bool for_writing) {
  if (for_writing) return {.used = kConsistentRead | kWrite, .unshared = kAll & ~kConsistentRead};
  return {.used = kConsistentRead, .unshared = kWrite | kResize};
}

bool take(int descriptor, off_t first_byte, unsigned permissions);
void release(int descriptor, off_t first_byte, unsigned permissions);
bool others_hold(int descriptor, off_t first_byte, unsigned permissions);
std::unexpected<Error> in_the_way(bool for_writing, bool written, std::string_view path);

Result<void> try_to_lock(int descriptor, bool for_writing, std::string_view path) {
  const auto [used, unshared] = claim(for_writing);
  if (!take(descriptor, kUsedBytes, used) || !take(descriptor, kUnsharedBytes, unshared)) {
    if (errno == EAGAIN || errno == EACCES) return in_the_way(for_writing, true, path);
    log().warn("{} cannot be locked ({}): nothing keeps other programs from writing to it",
               shown(path), std::strerror(errno));
    return {};
  }
  if (others_hold(descriptor, kUsedBytes, unshared)) return in_the_way(for_writing, true, path);
  if (others_hold(descriptor, kUnsharedBytes, used)) return in_the_way(for_writing, false, path);
  return {};
}

}  // namespace

Result<void> lock_file(int descriptor, bool for_writing, std::string_view path) {
  const Retry retry(kGhostTimeout, std::chrono::milliseconds(5));
  while (true) {
    auto locked = try_to_lock(descriptor, for_writing, path);
    if (locked) return locked;
    unlock_file(descriptor);  // so that one of two waiting processes succeeds
    if (!retry.again()) return locked;
  }
}

// A lock for writing among its own has excluded all others already. Those for reading give way to
// the first one for writing while it looks for others.
Result<void> lock_file_beside(std::span<const HeldLock> own, int descriptor, bool for_writing,
                              std::string_view path) {
  const auto [used, unshared] = claim(for_writing);
  if (std::ranges::any_of(own, &HeldLock::for_writing)) {
    take(descriptor, kUsedBytes, used);  // a file system without locks has been logged
    take(descriptor, kUnsharedBytes, unshared);
    return {};
  }
  if (own.empty() || !for_writing) return lock_file(descriptor, for_writing, path);
  const Retry retry(kGhostTimeout, std::chrono::milliseconds(5));
  while (true) {
    take(descriptor, kUsedBytes, used);  // a failure shows below
    take(descriptor, kUnsharedBytes, unshared);
    for (const HeldLock& each : own) unlock_file(each.descriptor);
    auto locked = try_to_lock(descriptor, /*for_writing=*/true, path);
    for (const HeldLock& each : own) {
      take(each.descriptor, kUsedBytes, claim(false).used);
      take(each.descriptor, kUnsharedBytes, claim(false).unshared);
    }
    if (locked) return locked;
    unlock_file(descriptor);
    if (!retry.again()) return locked;
  }
}

bool others_have_locked(int descriptor, bool for_writing) {
  const auto [used, unshared] = claim(for_writing);
  return others_hold(descriptor, kUsedBytes, unshared) ||
         others_hold(descriptor, kUnsharedBytes, used);
}

void lock_for_reading_only(int descriptor) {
  const Claim had = claim(true);
  const Claim has = claim(false);
  release(descriptor, kUsedBytes, had.used & ~has.used);
  release(descriptor, kUnsharedBytes, had.unshared & ~has.unshared);
}

// Both locks are taken before one is released. Others that come in between are refused.
Result<void> move_lock_for_writing(int from, int to, std::string_view path) {
  const Claim had = claim(false);
  const Claim wanted = claim(true);
  take(to, kUsedBytes, wanted.used);  // a failure shows below
  take(to, kUnsharedBytes, wanted.unshared);
  release(from, kUsedBytes, had.used);
  release(from, kUnsharedBytes, had.unshared);
  auto locked = try_to_lock(to, true, path);
  if (!locked) move_lock_for_reading(to, from);
  return locked;
}

void move_lock_for_reading(int from, int to) {
  const Claim wanted = claim(false);
  take(to, kUsedBytes, wanted.used);
  take(to, kUnsharedBytes, wanted.unshared);
  unlock_file(from);
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

// A read or write lock of one byte of the lock area.
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

void release(int descriptor, off_t first_byte, unsigned permissions) {
  for (unsigned permission = 0; permission < kPermissionCount; ++permission) {
    if ((permissions >> permission & 1U) == 0) continue;
    struct flock lock = lock_of(F_UNLCK, first_byte, permission);
    fcntl(descriptor, F_OFD_SETLK, &lock);
  }
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
