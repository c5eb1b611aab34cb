#include "target/file/file_target.hpp"

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

#include "core/extents.hpp"
#include "ring/offload.hpp"
#include "ring/ring.hpp"
#include "spec/shown.hpp"
#include "target/file/file_limits.hpp"
#include "target/file/file_lock.hpp"

namespace sluice {
namespace {

// On a regular file it frees the blocks; on a block device it zeroes, and may unmap. Both read back
// as zeroes.
constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
// Zeroes and keeps the blocks; the kernel writes zeroes if a driver has no such operation.
constexpr int kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

}  // namespace

FileTarget::FileTarget(Place place, const Geometry& geometry)
    : place_(std::move(place)), errors_(place_.name), owns_lock_(!place_.inherited) {
  geometry_ = geometry;
}

FileTarget::~FileTarget() {
  if (owns_lock_) unlock_file(place_.descriptor);
  if (place_.slices != nullptr) place_.slices->remove(place_.descriptor);
}

Result<void> FileTarget::check_recovery() const {
  if (!place_.path.empty()) return {};
  return fail(
      EOPNOTSUPP,
      fmt::format("{} ended with its server, and so did all that was written to it", place_.name));
}

// Otherwise the next server could not provide the size that clients know.
Result<void> FileTarget::check_handover() const {
  const auto available = available_bytes();
  if (!available) return std::unexpected(available.error());
  const uint64_t needed = geometry_.data_bytes();
  if (place_.slices != nullptr && place_.slices->has_lost_claimant()) {
    return fail(EOPNOTSUPP, fmt::format("the slice of {} that has claimed the device is not in the "
                                        "stack any more: delete the device and add it again",
                                        shown(place_.name)));
  }
  if (*available >= needed) return {};
  return fail(ESTALE, fmt::format("{} has become smaller than its served part, {} bytes instead of "
                                  "{}: restore it to its size first",
                                  shown(place_.name), *available, needed));
}

std::optional<BareFile> FileTarget::bare_file() const {
  const int descriptor = place_.descriptor;
  const bool direct = (fcntl(descriptor, F_GETFL) & O_DIRECT) != 0 && !is_in_memory(descriptor);
  return BareFile{
      .descriptor = descriptor, .begin_bytes = place_.begin_bytes, .through_page_cache = !direct};
}

Result<std::optional<Fingerprint>> FileTarget::fingerprint() const {
  if (place_.path.empty()) return std::nullopt;
  auto found = Fingerprint::of(place_.descriptor, place_.path);
  if (!found) return std::unexpected(found.error());
  return std::move(*found);
}

// The size of the file from the start of the target.
Result<uint64_t> FileTarget::available_bytes() const {
  struct stat status{};
  uint64_t file_bytes = 0;
  const bool asked = place_.block_device ? ioctl(place_.descriptor, BLKGETSIZE64, &file_bytes) == 0
                                         : fstat(place_.descriptor, &status) == 0;
  if (!asked) {
    return fail(errno, fmt::format("cannot get the size of {}: {}", shown(place_.name),
                                   std::strerror(errno)));
  }
  if (!place_.block_device) file_bytes = static_cast<uint64_t>(status.st_size);
  return file_bytes - std::min(file_bytes, place_.begin_bytes);
}

Result<uint64_t> FileTarget::do_resize(std::optional<uint64_t> wanted) {
  if (!wanted && !place_.whole) return uint64_t{geometry_.size_bytes};
  const auto available = available_bytes();
  if (!available) return available;
  if (!wanted) return follow(*available);
  const uint64_t had_bytes = geometry_.size_bytes;
  if (!move_end(*wanted)) {
    return fail(ENOSPC, fmt::format("another slice of {} begins before {} bytes: grow the last one",
                                    shown(place_.name), place_.begin_bytes + *wanted));
  }
  if (*wanted <= *available) return *wanted;
  auto extended = extend(place_.begin_bytes + *wanted);
  if (!extended) move_end(had_bytes);
  return extended;
}

bool FileTarget::move_end(uint64_t size_bytes) const {
  if (place_.slices == nullptr) return true;
  return place_.slices->move_end(place_.descriptor, place_.begin_bytes + size_bytes);
}

// Up to the end of the file.
Result<uint64_t> FileTarget::follow(uint64_t available_bytes) {
  const uint64_t block = geometry_.logical_block_bytes;
  if (place_.grain_bytes != 0) {
    const uint64_t had = geometry_.data_bytes();
    const uint64_t has = available_bytes / place_.grain_bytes * place_.grain_bytes;
    if (has < had) {
      return fail(EINVAL, fmt::format("it has {} bytes, but {} has now only {}: restore that to "
                                      "its size",
                                      had, shown(place_.name), available_bytes));
    }
    geometry_.exact_bytes = has;
  }
  return available_bytes / block * block;
}

Result<uint64_t> FileTarget::extend(uint64_t file_bytes) {
  const std::string name = shown(place_.name);
  if (place_.block_device) {
    return fail(ENOSPC, fmt::format("{} is too small for {} bytes: make it that large first", name,
                                    file_bytes));
  }
  if (geometry_.read_only) {
    return fail(EROFS, fmt::format("{} is open for reading only and too small for {} bytes: make it"
                                   " that large with truncate -s {} {}",
                                   name, file_bytes, file_bytes, shell_word(place_.name)));
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
    case Op::prefetch:
      return prefetch(request);
  }
  return Status::from_errno(EOPNOTSUPP);
}

Task FileTarget::read(Request& request) {
  auto reading =
      request.ring->read(file(request), place_.begin_bytes + request.offset, request.data);
  reading.then(request.linked_command);
  const Status status = co_await reading;
  // The file may end inside a block: direct I/O cannot read the rest of that block.
  const bool cut =
      status.error() == EINVAL && reading.moved_bytes() % geometry_.logical_block_bytes != 0;
  if (status.error() != ENODATA && !cut) co_return judge(request, status);
  // Not zeroes, which would look like valid data.
  errors_.report(request, EIO, "the file has become shorter than the device");
  co_return Status::from_errno(EIO);
}

Task FileTarget::write(Request& request) {
  const bool durable = request.fua && geometry_.volatile_cache;
  auto writing = request.ring->write(file(request), place_.begin_bytes + request.offset,
                                     request.data, durable);
  writing.then(request.linked_command);
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
  co_return Status::from_errno(EOPNOTSUPP);  // possibly harmless to the client: not logged
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
    // Earlier writes may be lost, whatever the errno: never report it as a refusal.
    co_return judge(request, synced).ok() ? kOk : Status::from_errno(EIO);
  }
  Task writing = write_zeroes_by_hand(request);
  co_return co_await writing;
}

Task FileTarget::prefetch(Request& request) {
  auto reading =
      request.ring->prefetch(file(request), place_.begin_bytes + request.offset, request.length);
  const Status status = co_await reading;
  co_return judge(request, status);
}

// Not on the ring's thread: the file system may have to read its layout from the disk.
Task FileTarget::do_extents(Request& request, Extents& found) {
  RingOffload* const offload = RingOffload::of(*request.ring);
  if (offload == nullptr) co_return kOk;
  auto find = [this, &request, &found] { return find_extents(request.offset, found); };
  Offload::Job job(offload->threads, offload->count, "extents", find);
  co_return co_await job;
}

// In whole blocks: a block that is partly data counts as data. Block devices, and file systems
// without this information, return EINVAL: then all blocks are data.
Status FileTarget::find_extents(uint64_t begin, Extents& found) const {
  const uint64_t mask = geometry_.logical_block_bytes - 1;
  // An extent that begins where the list ends.
  const auto add = [&](uint64_t length, Extent kind) {
    kind.place = place_.begin_bytes + begin + found.covered_bytes();
    kind.file = place_.name;
    return found.add(length, kind);
  };
  while (!found.complete()) {
    const uint64_t here = begin + found.covered_bytes();
    const off_t data =
        lseek(place_.descriptor, static_cast<off_t>(place_.begin_bytes + here), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) add(found.range_bytes(), kHoleExtent);  // up to the end
      break;
    }
    const uint64_t data_begin = (static_cast<uint64_t>(data) - place_.begin_bytes) & ~mask;
    if (data_begin > here && !add(data_begin - here, kHoleExtent)) break;
    const off_t hole = lseek(place_.descriptor, data, SEEK_HOLE);
    if (hole < 0) break;
    const uint64_t data_end = (static_cast<uint64_t>(hole) - place_.begin_bytes + mask) & ~mask;
    if (!add(data_end - std::max(data_begin, here), kDataExtent)) break;
  }
  if (found.covered_bytes() == 0) add(found.range_bytes(), kDataExtent);
  return kOk;
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
