// HeldRequests: a separate ublk device with a number of 4 KiB writes delivered to its server, which
// holds them while this object lives: pages of the block layer that can be lent any number of
// times.
//
// Control path only. Needs root and Linux 6.16, which lets other rings than the server's register
// the pages (UBLK_F_BUF_REG_OFF_DAEMON). Destroy rings that hold the character device first.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "core/descriptor.hpp"
#include "frontend/session.hpp"
#include "frontend/ublk/device.hpp"
#include "target/stack.hpp"

namespace sluice::bench {

class HeldRequests {
 public:
  static constexpr uint16_t kQueue = 0;

  // Tags 0 to count - 1 of queue 0. ENODEV, EACCES: no ublk; EOPNOTSUPP: an older kernel;
  // ETIMEDOUT: the driver does not deliver.
  static Result<std::unique_ptr<HeldRequests>> open(uint16_t count);
  HeldRequests(const HeldRequests&) = delete;
  HeldRequests& operator=(const HeldRequests&) = delete;
  ~HeldRequests();

  int char_device() const { return session_->frontend().char_device(); }

 private:
  class Holder;

  HeldRequests();
  Result<void> start_writer(uint16_t count);
  Result<void> fill(uint16_t count);

  // A separate process: a thread that waits for a server in its own process cannot be killed.
  pid_t writer_ = -1;
  Descriptor writers_pipe_;   // carries the number of the device
  Holder* holder_ = nullptr;  // in the stack
  Stack stack_;
  std::unique_ptr<Session<ublk::UblkDevice>> session_;
};

}  // namespace sluice::bench
