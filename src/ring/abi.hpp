// The io_uring and block constants that are newer than Debian 12's headers (liburing 2.3,
// kernel 6.1). Values from the Linux user-space ABI (include/uapi/linux/io_uring.h, blkdev.h of
// Linux 7.3.4).
#pragma once

#include <liburing.h>

#include <cstdint>

namespace sluice::abi {

inline constexpr uint8_t kOpReadvFixed = 60;   // IORING_OP_READV_FIXED, Linux 6.15
inline constexpr uint8_t kOpWritevFixed = 61;  // IORING_OP_WRITEV_FIXED, Linux 6.15

// BLOCK_URING_CMD_DISCARD = _IO(0x12, 0), Linux 6.12: sqe->addr = start, sqe->addr3 = length.
inline constexpr uint32_t kBlockUringCmdDiscard = 0x1200;

// IORING_RECVSEND_FIXED_BUF on plain SEND and RECV: Linux 7.2 (S129).
inline constexpr uint16_t kRecvsendFixedBuf = 1U << 2;

// The most bytes that one operation moves (MAX_RW_COUNT): longer plain operations are short, longer
// fixed ones fail.
inline constexpr uint32_t kMaxTransferBytes = 0x7ffff000;

// The most vectors of one READV or WRITEV (UIO_MAXIOV).
inline constexpr uint32_t kMaxVectors = 1024;

}  // namespace sluice::abi
