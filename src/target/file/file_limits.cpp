#include "target/file/file_limits.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <optional>
#include <string>

#include "core/buffer.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr uint32_t kSector = 512;
constexpr uint32_t kPage = 4096;

DirectAlignment probe_alignment(int descriptor);
Geometry describe_regular_file(int descriptor, const struct stat& status);
Geometry describe_block_device(int descriptor, const struct stat& status);
uint32_t block_size_of(int descriptor);
template <typename T>
uint64_t ask(int descriptor, unsigned long request);
bool is_block_size(uint64_t bytes);

// /sys/dev/block/MAJOR:MINOR/queue, that of the whole disk for a partition.
class BlockQueue {
 public:
  explicit BlockQueue(dev_t device)
      : directory_(fmt::format("/sys/dev/block/{}:{}", major(device), minor(device))) {}

  std::optional<uint64_t> find(const char* attribute) const;
  uint64_t number(const char* attribute) const { return find(attribute).value_or(0); }

 private:
  std::string directory_;
};

}  // namespace

DirectAlignment direct_alignment(int descriptor) {
  struct statx found{};
  // STATX_DIOALIGN and its fields: in the headers since Linux 6.1.
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) == 0 &&
      (found.stx_mask & STATX_DIOALIGN) != 0) {
    return {.memory_bytes = found.stx_dio_mem_align, .offset_bytes = found.stx_dio_offset_align};
  }
  if (is_in_memory(descriptor)) return {.memory_bytes = 1, .offset_bytes = 1};
  return probe_alignment(descriptor);
}

Geometry describe_file(int descriptor, const DirectAlignment& direct) {
  struct stat status{};
  fstat(descriptor, &status);
  Geometry geometry = S_ISBLK(status.st_mode) ? describe_block_device(descriptor, status)
                                              : describe_regular_file(descriptor, status);
  geometry.memory_alignment_bytes = std::max(direct.memory_bytes, 1U);
  geometry.logical_block_bytes = std::max(geometry.logical_block_bytes, direct.offset_bytes);
  geometry.physical_block_bytes =
      std::max(geometry.physical_block_bytes, geometry.logical_block_bytes);
  // Neither the page cache nor the disk's own cache survives a power loss.
  geometry.volatile_cache = true;
  geometry.can_fua = true;
  geometry.can_write_zeroes = true;
  return geometry;
}

// The file system of a device node is unrelated to the device.
std::string swap_risk_of(int descriptor, const std::string& path, bool direct) {
  struct statfs found{};
  struct stat status{};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  if (regular && fstatfs(descriptor, &found) == 0) {
    switch (static_cast<uint32_t>(found.f_type)) {
      case TMPFS_MAGIC:
      case RAMFS_MAGIC:
        return fmt::format("{} is in memory", shown(path));
      case NFS_SUPER_MAGIC:
      case SMB_SUPER_MAGIC:
      case CIFS_SUPER_MAGIC:
      case SMB2_SUPER_MAGIC:
      case CEPH_SUPER_MAGIC:
      case AFS_SUPER_MAGIC:
      case V9FS_MAGIC:
        return fmt::format("{} is on the network, for which the kernel allocates memory",
                           shown(path));
      case FUSE_SUPER_MAGIC:
        return fmt::format("{} is served by another program", shown(path));
      default:
        break;
    }
  }
  if (direct) return {};
  return fmt::format("{} uses the page cache, for which the kernel allocates memory", shown(path));
}

bool is_in_memory(int descriptor) {
  struct statfs found{};
  struct stat status{};
  return fstatfs(descriptor, &found) == 0 && found.f_type == TMPFS_MAGIC &&
         fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);  // not a device node on tmpfs
}

namespace {

// If the kernel does not report the alignment: the smallest read of the first block that it
// accepts, into memory with just that alignment.
DirectAlignment probe_alignment(int descriptor) {
  const Buffer buffer(2 * size_t{kPage});
  for (uint32_t bytes = kSector; bytes < kPage; bytes *= 2) {
    if (pread(descriptor, buffer.bytes().data() + bytes, bytes, 0) >= 0) return {bytes, bytes};
  }
  return {.memory_bytes = kPage, .offset_bytes = kPage};
}

Geometry describe_regular_file(int descriptor, const struct stat& status) {
  Geometry geometry;
  geometry.size_bytes = static_cast<uint64_t>(status.st_size);
  geometry.logical_block_bytes = kSector;
  geometry.physical_block_bytes = block_size_of(descriptor);
  geometry.can_discard = true;
  geometry.discard_granularity_bytes = geometry.physical_block_bytes;
  // There is no entry for the anonymous device numbers of btrfs, overlayfs or tmpfs.
  geometry.rotational = BlockQueue(status.st_dev).number("rotational") != 0;
  return geometry;
}

Geometry describe_block_device(int descriptor, const struct stat& status) {
  constexpr uint64_t kNoLimit = UINT32_MAX;
  const BlockQueue queue(status.st_rdev);
  Geometry geometry;
  geometry.size_bytes = ask<uint64_t>(descriptor, BLKGETSIZE64);
  // Blocks larger than a page restrict direct I/O only, which reports its own alignment.
  geometry.logical_block_bytes =
      std::clamp(static_cast<uint32_t>(ask<int>(descriptor, BLKSSZGET)), kSector, kPage);
  geometry.physical_block_bytes = static_cast<uint32_t>(ask<unsigned>(descriptor, BLKPBSZGET));
  geometry.io_min_bytes = static_cast<uint32_t>(ask<unsigned>(descriptor, BLKIOMIN));
  geometry.io_opt_bytes = static_cast<uint32_t>(ask<unsigned>(descriptor, BLKIOOPT));
  geometry.read_only = ask<int>(descriptor, BLKROGET) != 0;
  geometry.rotational = ask<uint16_t>(descriptor, BLKROTATIONAL) != 0;
  const uint64_t segment_bytes = queue.number("max_segment_size");
  geometry.max_segment_bytes = segment_bytes >= kNoLimit ? 0 : static_cast<uint32_t>(segment_bytes);
  geometry.max_segments = static_cast<uint32_t>(queue.number("max_segments"));
  geometry.can_discard = queue.number("discard_max_bytes") != 0;
  geometry.discard_granularity_bytes = static_cast<uint32_t>(queue.number("discard_granularity"));
  // Physical blocks that are not aligned to the start of the device do not help clients to align.
  if (ask<int>(descriptor, BLKALIGNOFF) != 0) {
    geometry.physical_block_bytes = geometry.logical_block_bytes;
  }
  return geometry;
}

// The file system's block: smaller writes cause a read first.
uint32_t block_size_of(int descriptor) {
  struct statfs found{};
  if (fstatfs(descriptor, &found) != 0) return kPage;
  const auto bytes = static_cast<uint64_t>(found.f_bsize);
  return is_block_size(bytes) ? static_cast<uint32_t>(bytes) : kPage;
}

// Network file systems report their preferred transfer size here, not a block size.
bool is_block_size(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kSector && bytes <= 64 * 1024;
}

// T is the type that the kernel writes for this ioctl; zero if it refuses.
template <typename T>
uint64_t ask(int descriptor, unsigned long request) {
  T answer{};
  if (ioctl(descriptor, request, &answer) != 0) return 0;
  return static_cast<uint64_t>(answer);
}

std::optional<uint64_t> BlockQueue::find(const char* attribute) const {
  for (const char* place : {"queue", "../queue"}) {
    std::ifstream file(fmt::format("{}/{}/{}", directory_, place, attribute));
    uint64_t value = 0;
    if (file >> value) return value;
  }
  return std::nullopt;
}

}  // namespace
}  // namespace sluice
