#include "daemon/listing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <map>

#include "daemon/frontends.hpp"
#include "frontend/no_such_device.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice {
namespace {

using ublk::Control;

// From sysfs: the driver would take a lock, which a process that waits may hold.
ublk::abi::Parameters parameters_of(uint32_t id) {
  ublk::abi::Parameters parameters{};
  const std::string disk = fmt::format("/sys/block/ublkb{}", id);
  const auto number = [](const std::string& path) {
    std::ifstream file(path);
    uint64_t value = 0;
    file >> value;
    return value;
  };
  const auto device = [](const std::string& path, uint32_t& major, uint32_t& minor) {
    std::ifstream file(path);
    char colon = 0;
    file >> major >> colon >> minor;
  };
  const uint64_t block_bytes = number(disk + "/queue/logical_block_size");
  parameters.basic.logical_block_shift =
      static_cast<uint8_t>(std::bit_width(std::max<uint64_t>(block_bytes, 512)) - 1);
  parameters.basic.device_sectors = number(disk + "/size");
  device(disk + "/dev", parameters.devt.disk_major, parameters.devt.disk_minor);
  device(fmt::format("/sys/class/ublk-char/ublkc{}/dev", id), parameters.devt.char_major,
         parameters.devt.char_minor);
  return parameters;
}

// Adds the driver's descriptions to `listings`. Without a driver there are no ublk devices.
Result<void> ask_driver(std::optional<uint32_t> id, std::map<uint32_t, DeviceListing>& listings) {
  if (id && listings.contains(*id) && kernel_numbers(*listings[*id].record) == nullptr) return {};
  auto control = Control::open();
  if (!control) {
    if (!id || listings.contains(*id)) return {};
    return std::unexpected(no_such_device(*id));
  }
  for (const uint32_t each : id ? std::vector<uint32_t>{*id} : Control::ids()) {
    const auto info = (*control)->info(each);
    if (!info) {
      if (id) return std::unexpected(info.error());
      listings.erase(each);  // deleted meanwhile
      continue;
    }
    DriverListing& driver = listings[each].driver.emplace();
    driver.info = *info;
    driver.parameters = parameters_of(each);
    for (uint16_t queue = 0; queue < info->queues; ++queue) {
      const auto processors = (*control)->queue_affinity(each, queue);
      driver.affinities.push_back(processors ? *processors : std::vector<int>{});
    }
  }
  return {};
}

}  // namespace

Result<std::vector<DeviceListing>> list_devices(std::optional<uint32_t> id) {
  std::map<uint32_t, DeviceListing> listings;
  for (DeviceRecord& record : read_records()) {
    if ((id && *id != record.id) || (kernel_numbers(record) != nullptr && is_stale(record)))
      continue;
    DeviceListing& listing = listings[record.id];
    listing.alive = server_alive(record);
    listing.record = std::move(record);
  }
  if (auto looked = ask_driver(id, listings); !looked) return std::unexpected(looked.error());
  std::vector<DeviceListing> found;
  for (auto& [each, listing] : listings) {
    listing.id = each;
    found.push_back(std::move(listing));
  }
  return found;
}

Result<uint64_t> driver_features() {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  return (*control)->features();
}

}  // namespace sluice
