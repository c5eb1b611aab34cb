// The FUSE protocol's user-space ABI: <linux/fuse.h>, and additions since Debian 12's headers
// (protocol 7.38). Values from include/uapi/linux/fuse.h of Linux 7.3.4 (protocol 7.46).
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace sluice::fuse::abi {

// INIT flags that the header lacks.
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

// --- Requests over io_uring (Linux 6.14), and their pages in the ring's buffer table (Linux 7.3).
// Names are ours; meaning from Documentation/filesystems/fuse/uapi/fuse-uapi-io-uring.rst there.
//
// Each entry of a queue has a RequestHeader and a payload. REGISTER passes their addresses once;
// each completion of a command means that the kernel has written a request there. There is one
// queue per possible processor, and none is used before every queue has an entry. Rings need
// IORING_SETUP_SQE128.
//
// A zero-copy queue is made by ADD_QUEUE, has one pool of payloads (ADD_POOL) instead of one
// payload per entry, and each entry has a slot of the ring's buffer table. That slot holds the
// pages of a READ or WRITE of a file opened with kOpenZeroCopy until the request is committed.

struct EntryInOut {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_bytes;
  uint32_t pool_offset;  // of the payload, if there is a pool
  uint64_t reserved;
};

// EntryInOut::flags: the data is in the entry's slot, not in the payload.
inline constexpr uint64_t kEntryZeroCopy = 1U << 0;

struct RequestHeader {
  union {
    fuse_in_header in;
    fuse_out_header out;
    std::byte in_out[128];
  };
  std::byte arguments[128];  // the operation's first structure
  EntryInOut entry;
};
static_assert(sizeof(RequestHeader) == 288);

inline constexpr uint32_t kRegister = 1;
inline constexpr uint32_t kCommitAndFetch = 2;
inline constexpr uint32_t kAddQueue = 3;  // Linux 7.3
inline constexpr uint32_t kAddPool = 4;   // Linux 7.3

// UringCommand::flags of kAddQueue: CAP_SYS_ADMIN only.
inline constexpr uint64_t kQueueZeroCopy = 1U << 0;

// In the command area of the SQE. Kernels before 7.3 read only the first 24 bytes.
struct UringCommand {
  struct Pool {
    uint64_t address = 0;
    uint32_t length = 0;
    uint32_t reserved = 0;
  };

  uint64_t flags = 0;
  uint64_t commit_id = 0;
  uint16_t queue_id = 0;
  uint8_t padding[6] = {};
  union {
    Pool pool = {};  // of kAddPool
    uint16_t slot;   // for kRegister of a zero-copy queue; otherwise 0
  };
};
static_assert(sizeof(UringCommand) == 40);

}  // namespace sluice::fuse::abi
