// A command of /dev/fuse as a wide SQE: the common part of REGISTER, COMMIT_AND_FETCH and the
// commands that make queues. See abi.hpp.
#pragma once

#include <liburing.h>

#include <cstring>

#include "core/file.hpp"
#include "frontend/fuse/abi.hpp"

namespace sluice::fuse {

inline void prepare_uring_command(io_uring_sqe& sqe, File device, uint32_t operation,
                                  const abi::UringCommand& command) {
  constexpr size_t kAreaBytes = 80;
  sqe.opcode = IORING_OP_URING_CMD;
  sqe.fd = device.number;
  if (device.registered) sqe.flags = IOSQE_FIXED_FILE;
  sqe.cmd_op = operation;
  std::byte* const area = reinterpret_cast<std::byte*>(&sqe) + offsetof(io_uring_sqe, cmd);
  std::memset(area, 0, kAreaBytes);
  std::memcpy(area, &command, sizeof(command));
}

}  // namespace sluice::fuse
