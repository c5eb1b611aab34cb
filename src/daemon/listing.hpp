// The devices that `list` shows: all devices of Sluice, and the ublk devices of other programs. It
// shows the latter because it replaces the listing of the ublk driver's own tool.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/error.hpp"
#include "daemon/state.hpp"
#include "frontend/ublk/abi.hpp"

namespace sluice {

// The ublk driver's description of a device.
struct DriverListing {
  ublk::abi::DeviceInfo info{};
  ublk::abi::Parameters parameters{};
  std::vector<std::vector<int>> affinities;  // by queue
};

// A device in the listing: a ublk device of any program, or a device of Sluice.
struct DeviceListing {
  uint32_t id = kAnyId;
  std::optional<DriverListing> driver;  // of a ublk device
  std::optional<DeviceRecord> record;   // of a device of Sluice; at least one of the two is set
  bool alive = false;                   // the recorded server runs
};
// Sorted by id. Without a ublk driver: the devices of the other front ends. ENODEV: `id` is given
// and there is no such device.
Result<std::vector<DeviceListing>> list_devices(std::optional<uint32_t> id);

// The features of the ublk driver.
Result<uint64_t> driver_features();

}  // namespace sluice
