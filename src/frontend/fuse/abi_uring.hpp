// The FUSE protocol's user-space ABI, continued: requests over io_uring (Linux 6.14). See abi.hpp.
//
// Each entry of a queue has a RequestHeader and a payload. They are named once, in REGISTER; every
// command's completion means that the kernel has put a request there. There is one queue per
// possible processor, and none is used before every queue has an entry. Rings need
// IORING_SETUP_SQE128.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace sluice::fuse::abi {

struct EntryInOut {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_bytes;
  uint32_t padding;
  uint64_t reserved;
};

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

// In the command area of the SQE.
struct UringCommand {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue_id;
  uint8_t padding[6];
};
static_assert(sizeof(UringCommand) == 24);

}  // namespace sluice::fuse::abi
