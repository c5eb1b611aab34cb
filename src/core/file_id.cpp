#include "core/file_id.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/block_devices.hpp"

namespace sluice {
namespace {

constexpr unsigned kMountId = 0x1000;  // STATX_MNT_ID, Linux 5.8

std::optional<FileId> look(int directory, const char* path, int flags) {
  struct statx found{};
  const unsigned wanted = STATX_TYPE | STATX_INO | kMountId;
  flags |= AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  if (statx(directory, path, flags, wanted, &found) != 0) return std::nullopt;
  return FileId{.mode = found.stx_mode,
                .device = makedev(found.stx_dev_major, found.stx_dev_minor),
                .inode = found.stx_ino,
                .number = makedev(found.stx_rdev_major, found.stx_rdev_minor),
                .mount = (found.stx_mask & kMountId) != 0 ? static_cast<int>(found.stx_mnt_id) : 0};
}

}  // namespace

bool FileId::is_block_device() const { return S_ISBLK(mode); }

bool FileId::shares_data(const FileId& other) const {
  if (is_block_device() != other.is_block_device()) return false;
  if (is_block_device()) return share_blocks(number, other.number);
  return S_ISREG(mode) && S_ISREG(other.mode) && device == other.device && inode == other.inode;
}

std::optional<FileId> identify(int descriptor) { return look(descriptor, "", AT_EMPTY_PATH); }

std::optional<FileId> identify(const std::string& path) { return look(AT_FDCWD, path.c_str(), 0); }

}  // namespace sluice
