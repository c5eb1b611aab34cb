// The ublk driver's user-space ABI (include/uapi/linux/ublk_cmd.h of Linux 7.3.4), as far as it is
// used here: control commands, all features, devices, their parameters, the requests of a queue.
// Debian 12's headers stop at 6.1. Meanings are those of Documentation/block/ublk.rst.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace sluice::ublk::abi {

inline constexpr uint32_t kSectorShift = 9;  // sizes and offsets are in sectors of 512 bytes

struct ControlCommand {
  uint32_t dev_id;
  uint16_t queue_id;
  uint16_t length;
  uint64_t address;
  uint64_t data;
  uint16_t dev_path_length;
  uint16_t padding;
  uint32_t reserved;
};
static_assert(sizeof(ControlCommand) == 32);

inline constexpr unsigned long kGetQueueAffinity = _IOR('u', 0x01, ControlCommand);
inline constexpr unsigned long kGetDevInfo = _IOR('u', 0x02, ControlCommand);
inline constexpr unsigned long kAddDev = _IOWR('u', 0x04, ControlCommand);
inline constexpr unsigned long kDelDev = _IOWR('u', 0x05, ControlCommand);
inline constexpr unsigned long kStartDev = _IOWR('u', 0x06, ControlCommand);
inline constexpr unsigned long kStopDev = _IOWR('u', 0x07, ControlCommand);
inline constexpr unsigned long kSetParams = _IOWR('u', 0x08, ControlCommand);
inline constexpr unsigned long kGetParams = _IOR('u', 0x09, ControlCommand);
inline constexpr unsigned long kStartUserRecovery = _IOWR('u', 0x10, ControlCommand);
inline constexpr unsigned long kEndUserRecovery = _IOWR('u', 0x11, ControlCommand);
inline constexpr unsigned long kGetDevInfo2 = _IOR('u', 0x12, ControlCommand);
inline constexpr unsigned long kGetFeatures = _IOR('u', 0x13, ControlCommand);
inline constexpr unsigned long kDelDevAsync = _IOR('u', 0x14, ControlCommand);
inline constexpr unsigned long kUpdateSizeDev = _IOWR('u', 0x15, ControlCommand);
inline constexpr unsigned long kQuiesceDev = _IOWR('u', 0x16, ControlCommand);
inline constexpr unsigned long kTryStopDev = _IOWR('u', 0x17, ControlCommand);

// Device features.
inline constexpr uint64_t kSupportZeroCopy = 1ULL << 0;
inline constexpr uint64_t kUringCmdCompInTask = 1ULL << 1;
inline constexpr uint64_t kNeedGetDataFeature = 1ULL << 2;
inline constexpr uint64_t kUserRecovery = 1ULL << 3;
inline constexpr uint64_t kUserRecoveryReissue = 1ULL << 4;
inline constexpr uint64_t kUnprivilegedDev = 1ULL << 5;
inline constexpr uint64_t kCmdIoctlEncode = 1ULL << 6;
inline constexpr uint64_t kUserCopy = 1ULL << 7;
inline constexpr uint64_t kZoned = 1ULL << 8;
inline constexpr uint64_t kUserRecoveryFailIo = 1ULL << 9;
inline constexpr uint64_t kUpdateSize = 1ULL << 10;
inline constexpr uint64_t kAutoBufReg = 1ULL << 11;
inline constexpr uint64_t kQuiesce = 1ULL << 12;
inline constexpr uint64_t kPerIoDaemon = 1ULL << 13;
inline constexpr uint64_t kBufRegOffDaemon = 1ULL << 14;
inline constexpr uint64_t kBatchIo = 1ULL << 15;
inline constexpr uint64_t kIntegrity = 1ULL << 16;
inline constexpr uint64_t kSafeStopDev = 1ULL << 17;
inline constexpr uint64_t kNoAutoPartScan = 1ULL << 18;
inline constexpr uint64_t kShmemZc = 1ULL << 19;
inline constexpr uint64_t kIoDescSize = 1ULL << 20;

enum class DeviceState : uint16_t { dead = 0, live = 1, quiesced = 2, fail_io = 3 };

struct DeviceInfo {
  uint16_t queues;
  uint16_t depth;
  uint16_t state;
  uint16_t descriptor_bytes;  // of IoDescriptor; can be chosen only with kIoDescSize
  uint32_t max_io_buf_bytes;
  uint32_t dev_id;
  int32_t server_pid;
  uint32_t padding1;
  uint64_t flags;
  uint64_t server_flags;  // for the server's own use; the driver keeps them
  uint32_t owner_uid;
  uint32_t owner_gid;
  uint64_t reserved1;
  uint64_t reserved2;
};
static_assert(sizeof(DeviceInfo) == 64);

inline constexpr uint32_t kMaxQueueDepth = 4096;
inline constexpr uint32_t kMaxQueues = 4096;

// --- The parameters of a device.

inline constexpr uint32_t kAttrReadOnly = 1U << 0;
inline constexpr uint32_t kAttrRotational = 1U << 1;
inline constexpr uint32_t kAttrVolatileCache = 1U << 2;
inline constexpr uint32_t kAttrFua = 1U << 3;

struct BasicParameters {
  uint32_t attributes;
  uint8_t logical_block_shift;
  uint8_t physical_block_shift;
  uint8_t io_opt_shift;
  uint8_t io_min_shift;
  uint32_t max_sectors;
  uint32_t chunk_sectors;
  uint64_t device_sectors;
  uint64_t virt_boundary_mask;
};

struct DiscardParameters {
  uint32_t alignment;
  uint32_t granularity;
  uint32_t max_discard_sectors;
  uint32_t max_write_zeroes_sectors;
  uint16_t max_segments;
  uint16_t reserved;
};

struct DevtParameters {
  uint32_t char_major;
  uint32_t char_minor;
  uint32_t disk_major;
  uint32_t disk_minor;
};

struct ZonedParameters {
  uint32_t max_open_zones;
  uint32_t max_active_zones;
  uint32_t max_zone_append_sectors;
  uint8_t reserved[20];
};

struct DmaAlignParameters {
  uint32_t alignment_mask;
  uint8_t padding[4];
};

struct SegmentParameters {
  uint64_t boundary_mask;
  uint32_t max_segment_bytes;
  uint16_t max_segments;
  uint8_t padding[2];
};

inline constexpr uint32_t kMinSegmentBytes = 4096;

inline constexpr uint32_t kParamBasic = 1U << 0;
inline constexpr uint32_t kParamDiscard = 1U << 1;
inline constexpr uint32_t kParamDmaAlign = 1U << 4;
inline constexpr uint32_t kParamSegment = 1U << 5;

// Ends before the integrity parameters of Linux 7.0, which are not used: `length` gives the size,
// and older drivers accept the shorter form as well.
struct Parameters {
  uint32_t length;
  uint32_t types;
  BasicParameters basic;
  DiscardParameters discard;
  DevtParameters devt;
  ZonedParameters zoned;
  DmaAlignParameters dma;
  SegmentParameters segment;
};

// --- The requests of a queue.

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

// The description of a request: the driver maps an array with one per tag.
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
