// Names of devices: the number, the name of `add --name`, and the path.
//
// Reads state files and asks the kernel for the device of a path; never waits for the device's
// server. Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "daemon/state.hpp"

namespace sluice {

// The driver numbers devices in the 20 bits of a minor number.
inline constexpr uint32_t kMaxDeviceId = (uint32_t{1} << 20) - 1;

// Checks a device name, which must also be valid as the name of a link and differ from numbers and
// options: letters, digits and + - . : @ _, the first one a letter or digit, at most 63, not only
// digits. EINVAL, with the reason.
Result<void> check_name(std::string_view name);

// Frees `name` for a new device: removes the remains of a dead device. EEXIST: another device has
// it. The caller holds the lock until the record with the name is written.
Result<void> claim_name(const std::string& name, const StateLock& held);

// "device 3 (/dev/loop0)", or "device 3 (db, /dev/loop0)" if it has a name.
std::string described(const DeviceRecord& record);

// Replaces the path at the beginning of an error by described(), for code that does not know device
// numbers.
Error with_number(Error error, const DeviceRecord& record);
// ESRCH: the server of the device has ended, with advice.
Error server_is_gone(const DeviceRecord& record);

// The number of the device that `word` names by number, name, path or a link to that path. ENODEV:
// none.
Result<uint32_t> find_device(std::string_view word);

}  // namespace sluice
