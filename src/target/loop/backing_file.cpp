#include "target/loop/backing_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/loop/file_limits.hpp"
#include "target/loop/file_lock.hpp"
#include "target/loop/open_errors.hpp"

namespace sluice {
namespace {

// The largest block that front ends and their clients can be told of.
constexpr uint32_t kBlockBytesMax = 4096;

Result<void> open_as_wished(BackingFile& file, const std::string& path, int flags, bool buffered);
void settle_direct_io(BackingFile& file, const std::string& name, bool wanted);
void set_flag(int descriptor, int flag, bool on);
int create_memory_file();

}  // namespace

Result<BackingFile> BackingFile::open(const std::string& path, const Wishes& wishes) {
  // Looked at before it is opened: opening a fifo waits, opening a tape rewinds it.
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return cannot_find(path, errno);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return is_no_backing_file(path, status.st_mode);
  }
  BackingFile file;
  file.block_device = S_ISBLK(status.st_mode);
  const bool claim = file.block_device && !wishes.read_only;
  const int flags = (wishes.read_only ? O_RDONLY : O_RDWR) | (claim ? O_EXCL : 0);
  if (auto opened = open_as_wished(file, path, flags, wishes.buffered_io); !opened) {
    return std::unexpected(opened.error());
  }
  const int descriptor = file.descriptor.number();
  if (fstat(descriptor, &status) != 0 || S_ISBLK(status.st_mode) != file.block_device) {
    return fail(EAGAIN, fmt::format("{} was replaced while it was opened: try again", shown(path)));
  }
  settle_direct_io(file, path, !wishes.buffered_io);
  if (file.geometry.read_only && !wishes.read_only) {
    return cannot_open(path, EROFS, flags, file.block_device);
  }
  file.geometry.read_only = wishes.read_only;
  file.geometry.volatile_cache = !wishes.read_only;  // nothing of ours is in it
  if (auto locked = lock_file(descriptor, !wishes.read_only, path); !locked) {
    return std::unexpected(locked.error());
  }
  return file;
}

Result<BackingFile> BackingFile::create_in_memory(uint64_t size_bytes) {
  const std::string name = fmt::format("a memory file of {}", format_size(size_bytes));
  BackingFile file;
  const Descriptor memory(create_memory_file());
  if (!memory.valid() || ftruncate(memory.number(), static_cast<off_t>(size_bytes)) != 0) {
    return fail(errno, fmt::format("cannot make {}: {}", name, std::strerror(errno)));
  }
  // Opened once more, because only open() gives a file the right to direct I/O.
  const std::string path = fmt::format("/proc/self/fd/{}", memory.number());
  if (auto opened = open_as_wished(file, path, O_RDWR, /*buffered=*/false); !opened) {
    return std::unexpected(opened.error());
  }
  settle_direct_io(file, name, /*wanted=*/true);
  return file;
}

namespace {

Result<void> open_as_wished(BackingFile& file, const std::string& path, int flags, bool buffered) {
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

// Finds out what direct I/O demands, and does without where it cannot be had or demands too much.
void settle_direct_io(BackingFile& file, const std::string& name, bool wanted) {
  const int descriptor = file.descriptor.number();
  DirectAlignment alignment;
  if (file.direct) alignment = direct_alignment(descriptor);
  if (alignment.offset_bytes == 0 || alignment.offset_bytes > kBlockBytesMax) {
    if (wanted) {
      spdlog::info("{} takes no direct I/O in blocks of {} bytes: going through the page cache",
                   shown(name), kBlockBytesMax);
    }
    if (file.direct) set_flag(descriptor, O_DIRECT, false);
    file.direct = false;
    alignment = {};
  }
  // io_uring takes tmpfs for a file that may block, and hands each request to a worker thread:
  // there is no FMODE_NOWAIT. O_NONBLOCK makes it try at once nevertheless, and O_DIRECT makes
  // tmpfs accept a write that must not wait. Neither changes what tmpfs does: nothing there waits.
  if (file.direct && is_in_memory(descriptor)) set_flag(descriptor, O_NONBLOCK, true);
  file.geometry = describe_file(descriptor, alignment);
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
