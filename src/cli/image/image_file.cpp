#include "cli/image/image_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/buffer.hpp"
#include "spec/shown.hpp"
#include "target/file/file_lock.hpp"
#include "target/file/image_kind.hpp"
#include "target/file/in_use.hpp"
#include "target/file/open_errors.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

std::unexpected<Failure> image_is_missing(const std::string& path, int error);
std::unexpected<Failure> image_is_refused(const std::string& path, int error, bool for_writing);
Outcome<void> lock_to_read(const ImageFile& file);
Outcome<void> recognise(ImageFile& file);

}  // namespace

// The kind is checked before opening, which would wait for a fifo.
Outcome<ImageFile> open_image(const std::string& path, ImageAccess access) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return image_is_missing(path, errno);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return failed(is_no_backing_file(path, status.st_mode).error());
  }
  const bool for_writing = access == ImageAccess::write;
  ImageFile file{.path = path, .is_block_device = S_ISBLK(status.st_mode)};
  const int claim = for_writing && file.is_block_device ? O_EXCL : 0;
  file.descriptor = Descriptor(
      ::open(path.c_str(), (for_writing ? O_RDWR : O_RDONLY) | claim | O_CLOEXEC | O_NONBLOCK));
  if (!file.descriptor.valid()) return image_is_refused(path, errno, for_writing);
  if (access == ImageAccess::write) {
    if (auto claimed = claim_image(file); !claimed) return std::unexpected(claimed.error());
  }
  if (access == ImageAccess::read) {
    if (auto locked = lock_to_read(file); !locked) return std::unexpected(locked.error());
  }
  if (fstat(file.descriptor.number(), &status) != 0) {
    return image_is_refused(path, errno, for_writing);
  }
  file.space_bytes = static_cast<uint64_t>(status.st_blocks) * 512;
  if (auto known = recognise(file); !known) return std::unexpected(known.error());
  return file;
}

Outcome<void> claim_image(const ImageFile& file) {
  const int descriptor = file.descriptor.number();
  if (auto unused = check_unused(descriptor, file.path, true); !unused) {
    return failed(unused.error());
  }
  const auto locked = lock_file(descriptor, true, file.path);
  if (locked) return {};
  if (locked.error().error != EBUSY) return failed(locked.error());
  return failed(
      fmt::format("{} is in use elsewhere, here or in a QEMU program: detach it there "
                  "first",
                  shown(file.path)));
}

namespace {

std::unexpected<Failure> image_is_missing(const std::string& path, int error) {
  if (error == ENOENT) {
    return failed(fmt::format("{} does not exist: check the path", shown(path)));
  }
  return failed(fmt::format("cannot find {}: {}", shown(path), std::strerror(error)));
}

std::unexpected<Failure> image_is_refused(const std::string& path, int error, bool for_writing) {
  return failed(fmt::format("cannot open {} for {}: {}", shown(path),
                            for_writing ? "writing" : "reading", std::strerror(error)));
}

Outcome<void> lock_to_read(const ImageFile& file) {
  const auto locked = lock_file(file.descriptor.number(), false, file.path);
  if (!locked) return failed(locked.error());
  return {};
}

Outcome<void> recognise(ImageFile& file) {
  const off_t end = lseek(file.descriptor.number(), 0, SEEK_END);
  if (end < 0) return image_is_refused(file.path, errno, false);
  file.size_bytes = static_cast<uint64_t>(end);
  const Buffer head(kImageHeadBytes);
  const size_t length = std::min<uint64_t>(kImageHeadBytes, file.size_bytes);
  const auto bytes = head.bytes().first(length);
  if (auto done = qcow2::read_image(file.descriptor.number(), 0, bytes); !done) {
    return failed(fmt::format("{}: {}", shown(file.path), done.error().text));
  }
  file.format = image_format(bytes);
  if (file.format.empty()) file.format = "raw";
  return {};
}

}  // namespace
}  // namespace sluice::cli
