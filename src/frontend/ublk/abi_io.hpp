// The ublk driver's user-space ABI, continued: the requests of a queue. See abi.hpp.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace sluice::ublk::abi {

struct IoCommand {
  uint16_t queue_id;
  uint16_t tag;
  int32_t result;
  uint64_t address;
};
static_assert(sizeof(IoCommand) == 16);

inline constexpr unsigned long kFetchReq = _IOWR('u', 0x20, IoCommand);
inline constexpr unsigned long kCommitAndFetchReq = _IOWR('u', 0x21, IoCommand);
inline constexpr unsigned long kNeedGetData = _IOWR('u', 0x22, IoCommand);
inline constexpr unsigned long kRegisterIoBuf = _IOWR('u', 0x23, IoCommand);
inline constexpr unsigned long kUnregisterIoBuf = _IOWR('u', 0x24, IoCommand);

// Results of FETCH and COMMIT_AND_FETCH.
inline constexpr int32_t kResultOk = 0;
inline constexpr int32_t kResultNeedGetData = 1;

// What a request is: the array that the driver maps, one per tag.
struct IoDescriptor {
  uint32_t op_flags;  // op in bits 0-7
  uint32_t sectors;
  uint64_t start_sector;
  uint64_t address;
};
static_assert(sizeof(IoDescriptor) == 24);

inline constexpr uint8_t kOpRead = 0;
inline constexpr uint8_t kOpWrite = 1;
inline constexpr uint8_t kOpFlush = 2;
inline constexpr uint8_t kOpDiscard = 3;
inline constexpr uint8_t kOpWriteZeroes = 5;

inline constexpr uint32_t kIoFua = 1U << 13;
inline constexpr uint32_t kIoNoUnmap = 1U << 15;
inline constexpr uint32_t kIoNeedRegBuf = 1U << 17;

// sqe->addr of FETCH and COMMIT_AND_FETCH on an AUTO_BUF_REG device.
inline constexpr uint64_t kAutoBufRegFallback = 1ULL << 16;

// Positions in /dev/ublkcN for pread and pwrite: a request's bytes (S2, S127).
inline constexpr uint64_t kIoBufferOffset = 0x80000000;
inline constexpr uint32_t kIoBufferBits = 25;
inline constexpr uint32_t kTagBits = 16;
inline constexpr uint32_t kMaxIoBytes = 1U << kIoBufferBits;

constexpr uint64_t io_buffer_position(uint16_t queue_id, uint16_t tag) {
  return kIoBufferOffset + (uint64_t{queue_id} << (kIoBufferBits + kTagBits)) +
         (uint64_t{tag} << kIoBufferBits);
}

}  // namespace sluice::ublk::abi
