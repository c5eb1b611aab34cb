// The front ends for the daemon: chooses the front end of a new device, and calls the functions of
// a FrontendType with a device's record. frontend/registry.hpp lists all front ends.
#pragma once

#include <memory>
#include <string>

#include "core/error.hpp"
#include "daemon/state.hpp"
#include "frontend/frontend_type.hpp"
#include "target/stack.hpp"

namespace sluice {

struct FrontendChoice {
  const FrontendType* type = nullptr;
  std::string reason;  // why the first one is not usable, if the user has not chosen
};

// The front end that the user chose, or the first that this machine can use. ENODEV: there is none,
// with advice.
Result<FrontendChoice> choose_frontend(const FrontendOptions& options);

// The front end of a device whose server has died. EINVAL: it cannot be recovered.
Result<std::unique_ptr<Frontend>> recover_frontend(Stack& stack, const DeviceRecord& record);
// The same for a living server, with its Frontend::handover_state().
Result<std::unique_ptr<Frontend>> adopt_frontend(Stack& stack, const DeviceRecord& record,
                                                 const std::string& state);

// True if the kernel keeps the device for the next server after its server has ended.
bool outlives_server(const DeviceRecord& record);
// True if its clients address bytes, not blocks.
bool serves_bytes(const DeviceRecord& record);
// True if the device's path is a block device rather than a file.
bool is_block_device(const DeviceRecord& record);
// Null: the kernel does not know the device by our number.
const KernelNumbers* kernel_numbers(const DeviceRecord& record);
// True if the kernel still has remains of a device whose server has died.
bool has_remains(const DeviceRecord& record);
// Removes them.
Result<void> clear_remains(const DeviceRecord& record);

}  // namespace sluice
