// What the command line does with devices. Each call is complete: on failure nothing is left behind
// that was not there before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/server.hpp"
#include "daemon/state.hpp"

namespace sluice {

// A device that can be opened, and what the user should know of how it was made.
struct Served {
  DeviceRecord record;
  std::vector<std::string> notes;
};

// Starts a server for a new device and returns once the device can be opened. With
// options.foreground the caller's own process serves: `ready` is called at that moment, and the
// call returns when the device is gone. With options.resume it recovers what a dead server has left
// under the number that is asked for, or clears it away where it cannot be recovered.
Result<Served> add_device(const ServeOptions& options);
Result<void> add_device_in_foreground(const ServeOptions& options, const Ready& ready);

// EBUSY: its server still lives, or (with advice) the device was not added for recovery.
Result<Served> recover_device(uint32_t id);

// Replaces the server of a device by this program, with requests running. ESRCH: it has none.
// EOPNOTSUPP: this device cannot be handed over. On failure the old server goes on.
Result<Served> upgrade_device(uint32_t id);

// Ends the server of a ublk device once its requests are answered; what comes later waits until the
// device is recovered. EOPNOTSUPP: not this device, and why.
Result<void> quiesce_device(uint32_t id);

// Gives the device this size, or that which its backing has now; returns what it became. ERANGE:
// smaller than it is.
Result<uint64_t> resize_device(uint32_t id, std::optional<uint64_t> size_bytes);

struct DeleteOptions {
  bool force = false;  // also when it is mounted or open
  bool wait = true;    // until the id is free again and the server has gone
};
// EBUSY: in use, and not forced.
Result<void> delete_device(uint32_t id, const DeleteOptions& options);

// Binds the thread of a queue to processors.
Result<void> set_queue_affinity(uint32_t id, uint16_t queue, const std::vector<int>& processors);

// What the ublk driver says of a device.
struct DriverListing {
  ublk::abi::DeviceInfo info{};
  ublk::abi::Parameters parameters{};
  std::vector<std::vector<int>> affinities;  // by queue
};

// A device as `list` shows it: a ublk device, whoever serves it, or one of ours.
struct DeviceListing {
  uint32_t id = ublk::kAnyId;
  std::optional<DriverListing> driver;  // of a ublk device
  std::optional<DeviceRecord> record;   // of one of ours; there is the one or the other
  bool alive = false;                   // the recorded server runs
};
// By id. Without a ublk driver there are those of the other front ends. ENODEV: `id` is given and
// there is no such device.
Result<std::vector<DeviceListing>> list_devices(std::optional<uint32_t> id);

// The features that the driver knows.
Result<uint64_t> driver_features();

}  // namespace sluice
