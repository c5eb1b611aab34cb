#include "target/file/backing_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "core/file_id.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/file/file_limits.hpp"
#include "target/file/file_lock.hpp"
#include "target/file/file_slices.hpp"
#include "target/file/in_use.hpp"
#include "target/file/open_errors.hpp"

namespace sluice {
namespace {

// The largest block size that front ends and their clients support.
constexpr uint32_t kBlockBytesMax = 4096;

Result<void> open_as_asked(BackingFile& file, const std::string& path, int flags, bool buffered);
void settle_direct_io(BackingFile& file, const std::string& name, bool wanted,
                      uint32_t block_bytes_max = kBlockBytesMax);
void reach_the_end(BackingFile& file, const std::string& name);
void settle_use(BackingFile& file, const BackingFile::Options& options);
std::shared_ptr<FileSlices> slices_of(const std::optional<FileId>& id,
                                      const BackingFile::Options& options);
void set_flag(int descriptor, int flag, bool on);
int create_memory_file();

}  // namespace

Result<BackingFile> BackingFile::open(const std::string& path, const Options& options) {
  // Checked before opening: opening a fifo blocks, opening a tape rewinds it.
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return cannot_find(path, errno);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return is_no_backing_file(path, status.st_mode);
  }
  BackingFile file;
  file.block_device = S_ISBLK(status.st_mode);
  const bool locks = !options.unlocked && !options.lock_later;
  if (locks) file.slices = slices_of(identify(path), options);
  const bool claimed = file.slices != nullptr && file.slices->claimed();
  file.claims = file.block_device && !options.read_only && !claimed;
  const int flags = (options.read_only ? O_RDONLY : O_RDWR) | (file.claims ? O_EXCL : 0);
  if (auto opened = open_as_asked(file, path, flags, options.buffered_io); !opened) {
    return std::unexpected(opened.error());
  }
  const int descriptor = file.descriptor.number();
  if (fstat(descriptor, &status) != 0 || S_ISBLK(status.st_mode) != file.block_device ||
      (file.slices != nullptr && file.slices != slices_of(identify(descriptor), options))) {
    return fail(EAGAIN, fmt::format("{} was replaced while it was opened: try again", shown(path)));
  }
  settle_direct_io(file, path, !options.buffered_io);
  if (options.to_the_byte) reach_the_end(file, path);
  if (file.geometry.read_only && !options.read_only) {
    return cannot_open(path, EROFS, flags, file.block_device);
  }
  std::vector<HeldLock> own;
  if (file.slices != nullptr) own = file.slices->locks();
  const bool has_looked = std::ranges::any_of(own, &HeldLock::for_writing);
  if (!options.force && !options.unlocked && !has_looked) {
    if (auto unused = check_unused(descriptor, path, !options.read_only); !unused) {
      return std::unexpected(unused.error());
    }
  }
  settle_use(file, options);
  if (!locks) return file;
  if (auto locked = lock_file_beside(own, descriptor, !options.read_only, path); !locked) {
    return std::unexpected(locked.error());
  }
  return file;
}

// Already locked: a lock belongs to the open file description. Trying again would release it if
// another program was in the way.
Result<BackingFile> BackingFile::adopt(Descriptor descriptor, const std::string& name,
                                       const Options& options) {
  BackingFile file;
  file.descriptor = std::move(descriptor);
  struct stat status{};
  if (fstat(file.descriptor.number(), &status) != 0) {
    return fail(EINVAL, fmt::format("{} was not handed over", shown(name)));
  }
  file.block_device = S_ISBLK(status.st_mode);
  file.direct = (fcntl(file.descriptor.number(), F_GETFL) & O_DIRECT) != 0;
  settle_direct_io(file, name, /*wanted=*/false);
  settle_use(file, options);
  file.slices = slices_of(identify(file.descriptor.number()), options);
  const bool claimed = file.slices != nullptr && file.slices->claimed();
  file.claims = file.block_device && !options.read_only && !claimed;
  return file;
}

Result<BackingFile> BackingFile::create_in_memory(uint64_t size_bytes) {
  const std::string name = fmt::format("mem:{}", format_size(size_bytes));
  const Descriptor memory(create_memory_file());
  if (!memory.valid() || ftruncate(memory.number(), static_cast<off_t>(size_bytes)) != 0) {
    return fail(errno, fmt::format("cannot make {}: {}", name, std::strerror(errno)));
  }
  return open_nameless(memory.number(), name, kBlockBytesMax);
}

// Only open() can enable direct I/O.
Result<BackingFile> BackingFile::open_nameless(int descriptor, const std::string& name,
                                               uint32_t block_bytes_max) {
  BackingFile file;
  const std::string path = fmt::format("/proc/self/fd/{}", descriptor);
  if (auto opened = open_as_asked(file, path, O_RDWR, /*buffered=*/false); !opened) {
    return std::unexpected(opened.error());
  }
  settle_direct_io(file, name, /*wanted=*/true, block_bytes_max);
  return file;
}

namespace {

Result<void> open_as_asked(BackingFile& file, const std::string& path, int flags, bool buffered) {
  flags |= O_CLOEXEC;
  if (!buffered) {
    file.descriptor = Descriptor(::open(path.c_str(), flags | O_DIRECT));
    file.direct = file.descriptor.valid();
    if (file.direct) return {};
    if (errno != EINVAL) return cannot_open(path, errno, flags, file.block_device);
  }
  file.descriptor = Descriptor(::open(path.c_str(), flags));
  if (file.descriptor.valid()) return {};
  return cannot_open(path, errno, flags, file.block_device);
}

// Determines the alignment of direct I/O, and disables it if it is not possible or requires too
// much.
void settle_direct_io(BackingFile& file, const std::string& name, bool wanted,
                      uint32_t block_bytes_max) {
  const int descriptor = file.descriptor.number();
  DirectAlignment alignment;
  if (file.direct) alignment = direct_alignment(descriptor);
  if (alignment.offset_bytes == 0 || alignment.offset_bytes > block_bytes_max) {
    if (wanted) {
      log().info("{} takes no direct I/O in blocks of {} bytes: going through the page cache",
                 shown(name), block_bytes_max);
    }
    if (file.direct) set_flag(descriptor, O_DIRECT, false);
    file.direct = false;
    alignment = {};
  }
  // tmpfs has no FMODE_NOWAIT, so io_uring gives each request to a worker thread. O_NONBLOCK makes
  // it run requests inline, and O_DIRECT makes tmpfs accept non-blocking writes. Neither changes
  // the behaviour of tmpfs, which does not block.
  if (file.direct && is_in_memory(descriptor)) set_flag(descriptor, O_NONBLOCK, true);
  file.geometry = describe_file(descriptor, alignment);
  file.swap_risk = swap_risk_of(descriptor, name, file.direct);
}

// Never both ways for one file: a page that is written back would undo direct writes beside it.
void reach_the_end(BackingFile& file, const std::string& name) {
  const uint64_t block = file.geometry.logical_block_bytes;
  if (!file.direct || file.block_device || file.geometry.size_bytes % block == 0) return;
  log().info(
      "{} goes through the page cache: direct I/O takes whole blocks of {} bytes, and its size is "
      "{}",
      shown(name), block, uint64_t{file.geometry.size_bytes});
  const int descriptor = file.descriptor.number();
  set_flag(descriptor, O_DIRECT | O_NONBLOCK, false);
  file.direct = false;
  file.geometry = describe_file(descriptor, {});
  file.swap_risk = swap_risk_of(descriptor, name, file.direct);
}

void settle_use(BackingFile& file, const BackingFile::Options& options) {
  file.geometry.read_only = options.read_only;
  file.geometry.volatile_cache = !options.read_only;  // without writes it stays empty
  file.geometry.can_prefetch = !file.direct;          // into the page cache
}

std::shared_ptr<FileSlices> slices_of(const std::optional<FileId>& id,
                                      const BackingFile::Options& options) {
  if (!id || options.stack_files == nullptr) return nullptr;
  return options.stack_files->find(*id);
}

void set_flag(int descriptor, int flag, bool on) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags >= 0) fcntl(descriptor, F_SETFL, on ? flags | flag : flags & ~flag);
}

int create_memory_file() {
  constexpr unsigned kNoExecSeal = 8;  // MFD_NOEXEC_SEAL, Linux 6.3; wanted by vm.memfd_noexec
  const int file = memfd_create("sluice-mem", MFD_CLOEXEC | kNoExecSeal);
  return file >= 0 || errno != EINVAL ? file : memfd_create("sluice-mem", MFD_CLOEXEC);
}

}  // namespace
}  // namespace sluice
