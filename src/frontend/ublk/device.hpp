// UblkDevice: a stack served as /dev/ublkbN.
//
// Owned by the control path. Each queue has a reactor, a thread with a ring, from serve() until the
// driver has taken every tag back. The stack outlives the device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/ublk/control.hpp"
#include "frontend/ublk/mode.hpp"
#include "target/stack.hpp"

namespace sluice::ublk {

class Reactor;

// What becomes of requests in flight, and of new ones, when the server dies.
enum class Recovery : uint8_t {
  none,     // the device goes away
  wait,     // new requests wait for the next server; those in flight fail
  reissue,  // new ones wait; those in flight are given to the next server once more
  fail_io,  // all fail until the next server is there
};

std::string_view to_string(Recovery recovery);  // none, wait, reissue, fail_io

struct DeviceOptions {
  uint32_t id = kAnyId;
  uint16_t queues = 1;
  uint16_t depth = 128;
  uint32_t max_io_bytes = 512 * 1024;
  Recovery recovery = Recovery::none;
  ModeWish wish;
};

class UblkDevice final : public Frontend {
 public:
  // Makes the device: chosen mode, parameters from the stack's geometry; not served yet. If
  // anything fails it is removed again. EEXIST: the id is taken; ENOSPC or ENOMEM: no more devices.
  static Result<std::unique_ptr<UblkDevice>> add(Stack& stack, const DeviceOptions& options);
  // Takes over a device whose server has died. EBUSY while the old server still lives; EINVAL when
  // the stack no longer fits the device.
  static Result<std::unique_ptr<UblkDevice>> recover(Stack& stack, uint32_t id, BufferMode mode);
  // Ends the reactors; a device that was added and never went live is removed.
  ~UblkDevice() override;

  // Starts the reactors and makes the device live.
  Result<void> serve() override;
  // Returns when the driver has taken every tag back.
  void wait() override;
  Result<void> stop() override;
  Result<void> stop_unless_busy() override;
  // Frees the id; while somebody has the block device open, once that ends.
  Result<void> remove() override;
  // To hand the device to another process, or to this one again: quiesce(), wait(), let_go(), close
  // the stack; then the other opens its stack and calls recover() and serve(). If it cannot, this
  // one does the same. No request fails, but with Recovery::fail_io, where that is what was asked
  // for.
  Result<void> quiesce() override;
  Result<Handover> let_go() override;
  Result<void> resize(uint64_t size_bytes) override;

  std::string path() const override;
  std::string mode_name() const override { return std::string(to_string(mode_.mode)); }
  std::string mode_reason() const override { return mode_.reason; }
  std::vector<QueueReport> reports() const override;
  Result<std::vector<InFlight>> in_flight() const override;

  uint32_t id() const { return info_.dev_id; }
  // /dev/ublkcN, for commands about its requests in other rings (UBLK_F_BUF_REG_OFF_DAEMON).
  int char_device() const { return char_fd_; }
  const abi::DeviceInfo& info() const { return info_; }
  const ModeChoice& mode() const { return mode_; }
  bool read_only() const { return stack_.geometry().read_only; }

 private:
  UblkDevice(Stack& stack, std::unique_ptr<Control> control);
  Result<void> create(const DeviceOptions& options);
  Result<void> adopt(uint32_t id, BufferMode mode);
  Result<void> open_char_device();
  Result<void> start_reactors();

  Stack& stack_;
  std::unique_ptr<Control> control_;
  abi::DeviceInfo info_{};
  ModeChoice mode_;
  bool recovering_ = false;
  bool added_ = false;  // by us
  bool live_ = false;
  int char_fd_ = -1;
  std::vector<std::unique_ptr<Reactor>> reactors_;
};

}  // namespace sluice::ublk
