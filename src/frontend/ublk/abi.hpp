// The ublk driver's user-space ABI (Linux 7.2, include/uapi/linux/ublk_cmd.h), as far as it is used
// here: control commands, features, devices. abi_io.hpp has requests, abi_parameters.hpp
// parameters. Debian 12's headers stop at 6.1. Meanings are those of Documentation/block/ublk.rst.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace sluice::ublk::abi {

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

enum class DeviceState : uint16_t { dead = 0, live = 1, quiesced = 2, fail_io = 3 };

struct DeviceInfo {
  uint16_t queues;
  uint16_t depth;
  uint16_t state;
  uint16_t padding0;
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

}  // namespace sluice::ublk::abi
