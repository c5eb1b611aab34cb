// /dev/sluice/NAME: the link to a block device that has a name.
//
// udev makes it, by the installed rules; the device's server makes it if there is no udev, or udev
// does not know the device. Only root's devices have a link, because programs trust names in /dev.
#pragma once

#include <string>

#include "core/error.hpp"
#include "daemon/state.hpp"

namespace sluice {

inline constexpr const char* kLinkDirectory = "/dev/sluice";

// Returns once the link of a live device exists; does nothing for a device without one.
Result<void> make_name_link(const DeviceRecord& record);

// Removes the link, unless it now points to another device.
void remove_name_link(const DeviceRecord& record);

// The udev properties of the block device `kernel_name` ("loop0"), as lines of KEY=VALUE; empty if
// it is no device of Sluice.
std::string udev_properties(const std::string& kernel_name);

}  // namespace sluice
