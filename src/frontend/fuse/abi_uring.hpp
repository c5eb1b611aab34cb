// The FUSE protocol's user-space ABI, continued: requests over io_uring (Linux 6.14), and their
// pages in the ring's buffer table (Linux 7.3). Names are ours; values from
// include/uapi/linux/fuse.h of Linux 7.3-rc7, meaning from
// Documentation/filesystems/fuse/uapi/fuse-uapi-io-uring.rst there.
//
// Each entry of a queue has a RequestHeader and a payload. They are named once, in REGISTER; every
// command's completion means that the kernel has put a request there. There is one queue per
// possible processor, and none is used before every queue has an entry. Rings need
// IORING_SETUP_SQE128.
//
// For zero copy a queue is made by ADD_QUEUE, has one pool of payloads (ADD_POOL) instead of one
// payload for each entry, and its entries name a slot of the ring's buffer table. The pages of a
// READ or WRITE of a file opened with kOpenZeroCopy are in that slot until the request is
// committed.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace sluice::fuse::abi {

struct EntryInOut {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_bytes;
  uint32_t pool_offset;  // of the payload, where there is a pool
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

// In the command area of the SQE. Kernels before 7.3 look at the first 24 bytes.
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
    uint16_t slot;   // of kRegister, where the queue is one for zero copy; otherwise 0
  };
};
static_assert(sizeof(UringCommand) == 40);

}  // namespace sluice::fuse::abi
