// HeldRequests: a ublk device of its own, with so many writes of 4 KiB delivered to its server and
// kept there while this lives: pages of the block layer to be lent as often as one likes.
//
// Control path only. Takes root and Linux 6.16, where other rings than the server's may register
// the pages (UBLK_F_BUF_REG_OFF_DAEMON). Rings that hold the character device end before this does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "core/descriptor.hpp"
#include "frontend/ublk/device.hpp"
#include "target/stack.hpp"

namespace sluice::cli::bench {

class HeldRequests {
 public:
  static constexpr uint16_t kQueue = 0;

  // Tags 0 to count - 1 of queue 0. ENODEV, EACCES: no ublk; EOPNOTSUPP: an older kernel;
  // ETIMEDOUT: the driver does not deliver.
  static Result<std::unique_ptr<HeldRequests>> open(uint16_t count);
  HeldRequests(const HeldRequests&) = delete;
  HeldRequests& operator=(const HeldRequests&) = delete;
  ~HeldRequests();

  int char_device() const { return device_->char_device(); }

 private:
  class Holder;

  HeldRequests();
  Result<void> start_writer(uint16_t count);
  Result<void> fill(uint16_t count);

  // A process of its own: a thread that waits for its own server's answer cannot be killed.
  pid_t writer_ = -1;
  Descriptor writers_pipe_;   // takes the number of the device
  Holder* holder_ = nullptr;  // in the stack
  Stack stack_;
  std::unique_ptr<ublk::UblkDevice> device_;
  bool serving_ = false;
};

}  // namespace sluice::cli::bench
