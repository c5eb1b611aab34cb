#include "lend/splice_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>

namespace sluice::lend {

SpliceFile SpliceFile::of(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return {};
  struct stat found{};
  const bool looked = fstat(descriptor, &found) == 0;
  const int access = flags & O_ACCMODE;
  return {.file = {.number = descriptor},
          .readable = access == O_RDONLY || access == O_RDWR,
          .writable = access == O_WRONLY || access == O_RDWR,
          .seekable = lseek(descriptor, 0, SEEK_CUR) >= 0,
          .appends = (flags & O_APPEND) != 0,
          .plain = looked && S_ISREG(found.st_mode)};
}

Status SpliceFile::as_source() const {
  if (!readable) return Status::from_errno(EBADF);
  return seekable ? kOk : Status::from_errno(EINVAL);
}

Status SpliceFile::as_sink() const {
  if (!writable) return Status::from_errno(EBADF);
  return seekable && !appends ? kOk : Status::from_errno(EINVAL);
}

Status SpliceFile::as_read_consumer() const {
  if (!readable) return Status::from_errno(EBADF);
  return plain ? kOk : Status::from_errno(EINVAL);
}

Status check_range(uint64_t offset, uint64_t length) {
  constexpr uint64_t kEnd = std::numeric_limits<int64_t>::max();
  return offset <= kEnd && length <= kEnd - offset ? kOk : Status::from_errno(EINVAL);
}

}  // namespace sluice::lend
