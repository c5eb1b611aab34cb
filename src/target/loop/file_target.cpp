#include "target/loop/file_target.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "ring/ring.hpp"
#include "spec/shown.hpp"
#include "target/loop/file_lock.hpp"

namespace sluice {
namespace {

// On a regular file it frees the blocks; on a block device it zeroes with unmapping allowed. Both
// read back as zeroes.
constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
// Zeroes and keeps the blocks; a driver that cannot gets zeroes written by the kernel.
constexpr int kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

}  // namespace

FileTarget::FileTarget(Place place, const Geometry& geometry)
    : place_(std::move(place)), errors_(place_.name) {
  geometry_ = geometry;
}

FileTarget::~FileTarget() { unlock_file(place_.descriptor); }

Result<void> FileTarget::check_reopening() const {
  if (place_.path.empty()) {
    return fail(EOPNOTSUPP, fmt::format("{} is in the memory of its server only", place_.name));
  }
  struct stat ours{};
  struct stat theirs{};
  if (fstat(place_.descriptor, &ours) != 0 || stat(place_.path.c_str(), &theirs) != 0) {
    return fail(ESTALE, fmt::format("{} cannot be opened again: {}", shown(place_.path),
                                    std::strerror(errno)));
  }
  const bool same = place_.block_device
                        ? S_ISBLK(theirs.st_mode) && ours.st_rdev == theirs.st_rdev
                        : ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
  if (same) return {};
  return fail(ESTALE,
              fmt::format("{} is another file than the one that is served", shown(place_.path)));
}

Result<uint64_t> FileTarget::do_resize(std::optional<uint64_t> wanted) {
  const uint64_t now = geometry_.size_bytes;
  if (!wanted && !place_.whole) return now;
  struct stat status{};
  uint64_t file_bytes = 0;
  const bool asked = place_.block_device ? ioctl(place_.descriptor, BLKGETSIZE64, &file_bytes) == 0
                                         : fstat(place_.descriptor, &status) == 0;
  if (!asked) {
    return fail(errno, fmt::format("cannot ask for the size of {}: {}", shown(place_.name),
                                   std::strerror(errno)));
  }
  if (!place_.block_device) file_bytes = static_cast<uint64_t>(status.st_size);
  const uint64_t available = file_bytes - std::min(file_bytes, place_.begin_bytes);
  if (!wanted) return available / geometry_.logical_block_bytes * geometry_.logical_block_bytes;
  if (*wanted <= available) return *wanted;
  return extend(place_.begin_bytes + *wanted);
}

Result<uint64_t> FileTarget::extend(uint64_t file_bytes) {
  const std::string name = shown(place_.name);
  if (place_.block_device) {
    return fail(ENOSPC, fmt::format("{} is too small for {} bytes: make it that large first", name,
                                    file_bytes));
  }
  if (geometry_.read_only) {
    return fail(EROFS, fmt::format("{} is open for reading only and too small for {} bytes: make it"
                                   " that large with truncate -s {}",
                                   name, file_bytes, file_bytes));
  }
  if (ftruncate(place_.descriptor, static_cast<off_t>(file_bytes)) != 0) {
    return fail(errno, fmt::format("cannot make {} {} bytes large: {}", name, file_bytes,
                                   std::strerror(errno)));
  }
  return file_bytes - place_.begin_bytes;
}

Task FileTarget::do_submit(Request& request) {
  switch (request.op) {
    case Op::read:
      return read(request);
    case Op::write:
      return write(request);
    case Op::flush:
      return flush(request);
    case Op::discard:
      return discard(request);
    case Op::write_zeroes:
      return write_zeroes(request);
  }
  return Status::from_errno(EOPNOTSUPP);
}

Task FileTarget::read(Request& request) {
  auto reading =
      request.ring->read(file(request), place_.begin_bytes + request.offset, request.data);
  reading.then(request.follower);
  const Status status = co_await reading;
  // Direct I/O cannot even ask for what follows an end inside a block.
  const bool cut =
      status.error() == EINVAL && reading.moved_bytes() % geometry_.logical_block_bytes != 0;
  if (status.error() != ENODATA && !cut) co_return judge(request, status);
  // Zeroes would pretend to be data.
  errors_.report(request, EIO, "the file has become shorter than the device");
  co_return Status::from_errno(EIO);
}

Task FileTarget::write(Request& request) {
  const bool durable = request.fua && geometry_.volatile_cache;
  auto writing = request.ring->write(file(request), place_.begin_bytes + request.offset,
                                     request.data, durable);
  writing.then(request.follower);
  const Status status = co_await writing;
  co_return judge(request, status);
}

Task FileTarget::flush(Request& request) {
  auto syncing = request.ring->sync(file(request), /*data_only=*/true);
  const Status status = co_await syncing;
  co_return judge(request, status);
}

Task FileTarget::discard(Request& request) {
  const bool command = place_.block_device && request.ring->abilities().block_discard &&
                       !lacks_discard_command_.load(std::memory_order_relaxed);
  if (command) return discard_by_command(request);
  if (!lacks_punch_hole_.load(std::memory_order_relaxed)) return punch_hole(request);
  return Status::from_errno(EOPNOTSUPP);
}

Task FileTarget::discard_by_command(Request& request) {
  auto discarding =
      request.ring->discard(file(request), place_.begin_bytes + request.offset, request.length);
  const Status status = co_await discarding;
  if (!is_unsupported(status)) co_return judge(request, status);
  lacks_discard_command_.store(true, std::memory_order_relaxed);
  Task punching = discard(request);
  co_return co_await punching;
}

Task FileTarget::punch_hole(Request& request) {
  auto punching = request.ring->fallocate(file(request), kPunchHole,
                                          place_.begin_bytes + request.offset, request.length);
  const Status status = co_await punching;
  if (!is_unsupported(status)) co_return judge(request, status);
  lacks_punch_hole_.store(true, std::memory_order_relaxed);
  co_return Status::from_errno(EOPNOTSUPP);  // a client may not care: nothing to log
}

Task FileTarget::write_zeroes(Request& request) {
  const uint64_t offset = place_.begin_bytes + request.offset;
  for (const int mode : {kPunchHole, kZeroRange}) {
    if (mode == kPunchHole && !request.may_unmap) continue;
    std::atomic<bool>& lacking = mode == kPunchHole ? lacks_punch_hole_ : lacks_zero_range_;
    if (lacking.load(std::memory_order_relaxed)) continue;
    auto zeroing = request.ring->fallocate(file(request), mode, offset, request.length);
    const Status zeroed = co_await zeroing;
    if (is_unsupported(zeroed)) {
      lacking.store(true, std::memory_order_relaxed);
      continue;
    }
    if (!zeroed.ok() || !request.fua || !geometry_.volatile_cache) co_return judge(request, zeroed);
    auto syncing = request.ring->sync(file(request), /*data_only=*/true);
    const Status synced = co_await syncing;
    // Earlier writes may be lost with it, whatever it says: no refusal.
    co_return judge(request, synced).ok() ? kOk : Status::from_errno(EIO);
  }
  Task writing = write_zeroes_by_hand(request);
  co_return co_await writing;
}

File FileTarget::file(const Request& request) const {
  return request.ring->files().find(place_.file, place_.descriptor);
}

Status FileTarget::judge(const Request& request, Status status) {
  if (!status.ok()) errors_.report(request, status.error());
  return status;
}

bool FileTarget::is_unsupported(Status status) {
  const int error = status.error();
  return error == EOPNOTSUPP || error == ENOTTY || error == ENOSYS;
}

}  // namespace sluice
