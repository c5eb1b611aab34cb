// The FUSE protocol's user-space ABI: <linux/fuse.h>, and what is newer than Debian 12's headers
// (protocol 7.38). Values from include/uapi/linux/fuse.h of Linux 7.3-rc7 (protocol 7.46).
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace sluice::fuse::abi {

// INIT, beyond the flags of the header.
inline constexpr uint64_t kDirectIoAllowMmap = 1ULL << 36;  // Linux 6.6
inline constexpr uint64_t kPassthrough = 1ULL << 37;        // Linux 6.9
inline constexpr uint64_t kOverIoUring = 1ULL << 41;        // Linux 6.14
inline constexpr uint64_t kIoUringPools = 1ULL << 43;       // Linux 7.3, with zero copy

struct InitOut {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_granularity;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint16_t request_timeout;
  uint16_t unused[11];
};
static_assert(sizeof(InitOut) == sizeof(fuse_init_out));

// OPEN.
inline constexpr uint32_t kOpenParallelDirectWrites = 1U << 6;  // Linux 6.2
inline constexpr uint32_t kOpenPassthrough = 1U << 7;           // Linux 6.9
inline constexpr uint32_t kOpenZeroCopy = 1U << 8;              // Linux 7.3, over io_uring

struct OpenOut {
  uint64_t file_handle;
  uint32_t open_flags;
  int32_t backing_id;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

// STATX: Linux 6.6.
inline constexpr uint32_t kStatx = 52;

struct StatxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

struct StatxOut {
  uint64_t valid_seconds;
  uint32_t valid_nanoseconds;
  uint32_t flags;
  uint64_t spare[2];
  uint32_t mask;
  uint32_t block_bytes;
  uint64_t attributes;
  uint32_t links;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare0;
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  StatxTime accessed;
  StatxTime born;
  StatxTime changed;
  StatxTime modified;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t spare2[14];
};
static_assert(sizeof(StatxOut) == 288);

// Passthrough: ioctls of /dev/fuse, for root only.
struct BackingMap {
  int32_t descriptor;
  uint32_t flags;
  uint64_t padding;
};
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);
inline constexpr unsigned long kClone = _IOR(229, 0, uint32_t);

}  // namespace sluice::fuse::abi
