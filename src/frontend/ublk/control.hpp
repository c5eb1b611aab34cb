// Control: the commands of /dev/ublk-control.
//
// Used by the control path of one process, one command at a time; not thread-safe. Every wait is
// bounded: if the driver does not answer in time, the command returns an Error, and the device is
// left to the kernel. All commands are ioctl-encoded.
#pragma once

#include <liburing.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "frontend/frontend_options.hpp"
#include "frontend/ublk/abi.hpp"

namespace sluice::ublk {

using sluice::kAnyId;

std::string char_device_path(uint32_t id);   // /dev/ublkcN
std::string block_device_path(uint32_t id);  // /dev/ublkbN
std::string described(uint32_t id);          // device N (/dev/ublkbN)

class Control {
 public:
  static constexpr std::chrono::seconds kTimeout{10};  // for commands that only read or set state
  static constexpr std::chrono::seconds kLongTimeout{
      60};  // for commands that wait for I/O or a server

  // ENODEV: no driver, with advice; EACCES: no privilege; ENOSYS: no io_uring.
  static Result<std::unique_ptr<Control>> open();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  ~Control();

  // The driver's features; 0 before Linux 6.5, which cannot report them.
  uint64_t features() const { return features_; }

  // Adds the device `info` and fills in the driver's values: id, queues, depth, flags.
  Result<void> add(abi::DeviceInfo& info);
  Result<void> set_parameters(uint32_t id, const abi::Parameters& parameters);
  Result<abi::Parameters> parameters(uint32_t id);
  Result<abi::DeviceInfo> info(uint32_t id);
  // The processors that the driver maps to a queue.
  Result<std::vector<int>> queue_affinity(uint32_t id, uint16_t queue);
  // Waits until `server` has fetched every tag.
  Result<void> start(uint32_t id, int server_pid);
  Result<void> stop(uint32_t id);
  // Stops it unless it is open: EBUSY; EOPNOTSUPP before Linux 7.0.
  Result<void> try_stop(uint32_t id);
  // A multiple of 512 bytes. EOPNOTSUPP before Linux 6.16.
  Result<void> update_size(uint32_t id, uint64_t size_bytes);
  // Makes the driver queue new requests instead of delivering them, and return idle tags. EBUSY if
  // no tag is idle; the driver quiesces nevertheless. EOPNOTSUPP before Linux 6.16.
  Result<void> quiesce(uint32_t id);
  // `wait`: until the id is free again.
  Result<void> remove(uint32_t id, bool wait);
  Result<void> start_recovery(uint32_t id);
  Result<void> end_recovery(uint32_t id, int server_pid);

  // The existing ids, ascending.
  static std::vector<uint32_t> ids();

 private:
  struct Call {
    unsigned long op = 0;
    const char* name = "";
    uint32_t id = kAnyId;
    uint16_t queue = UINT16_MAX;
    uint64_t data = 0;
    void* buffer = nullptr;
    uint16_t length = 0;
    std::chrono::seconds timeout = kTimeout;
  };

  Control() = default;
  void note_privilege(const abi::DeviceInfo& info);
  Result<void> run(const Call& call);
  int submit_and_wait(const Call& call);

  int fd_ = -1;
  io_uring ring_{};
  bool ring_open_ = false;
  bool silent_ = false;  // a command timed out: the ring must not be used again
  uint64_t features_ = 0;
  std::set<uint32_t> unprivileged_;  // devices known to be unprivileged
};

}  // namespace sluice::ublk
