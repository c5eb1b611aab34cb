// The SQE for a command of /dev/ublkcN on one request of a queue.
#pragma once

#include <liburing.h>

#include <cstring>

#include "core/file.hpp"
#include "frontend/ublk/abi.hpp"

namespace sluice::ublk {

inline io_uring_sqe io_command_sqe(File char_device, unsigned long op,
                                   const abi::IoCommand& command) {
  io_uring_sqe sqe{};
  sqe.opcode = IORING_OP_URING_CMD;
  sqe.fd = char_device.number;
  if (char_device.registered) sqe.flags = IOSQE_FIXED_FILE;
  sqe.cmd_op = static_cast<uint32_t>(op);
  std::memcpy(sqe.cmd, &command, sizeof(command));
  return sqe;
}

}  // namespace sluice::ublk
