// Orders: the ublk control commands that a keeper issues for a server.
//
// The driver holds its lock of a device while it waits for requests of that device, and runs
// commands on a worker thread without which its caller cannot end. A server that issued them could
// never be killed: its worker would wait for requests that fail only once the server has released
// the device. So a server itself issues only the commands that make a new device, and those that
// take no lock (features, info, queue affinity).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/error.hpp"
#include "frontend/keeper/keeper.hpp"
#include "spec/json_value.hpp"

namespace sluice::ublk {

struct Order {
  std::string order;
  uint32_t id = 0;
  uint64_t value = 0;
};

// --- For the server.
//
//   start, end_recovery       value: the serving process
//   start_recovery, quiesce, remove
//   stable_pages              the block device asks its users not to change the data of a write
//   update_size               value: in bytes
//   stop, stop_unless_busy    value: 1 to write back the page cache first, which the
//                             driver does itself for a device without recovery
Result<void> give_order(Keeper& keeper, const Order& order);
// The same, as long as `progress` grows: see Keeper::ask_patiently().
Result<void> give_order_patiently(Keeper& keeper, const Order& order,
                                  const std::function<uint64_t()>& progress);

// --- For the keeper. `request` is the message of give_order().
Result<void> carry_out(const JsonValue& request);

// The size of the block device in bytes, without a driver command; 0 if there is none.
uint64_t size_of_device(uint32_t id);

}  // namespace sluice::ublk
