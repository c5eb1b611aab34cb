// The event file in the state directory: the events of all devices, one on each line. `.events` has
// the latest events, `.events.1` the earlier ones.
//
// It outlives servers and devices, so that the past of a device number can be read later. Several
// processes append at once, each a whole line with one write. When the file reaches its limit, it
// is renamed to `.events.1` under the StateLock, and the oldest events are dropped.
//
// Only for threads that may block and that the file system of the state directory does not wait
// for: a server has a separate thread for its events, as for its log (event_log.hpp).
#pragma once

#include "core/error.hpp"
#include "daemon/device_event.hpp"
#include "daemon/state.hpp"

namespace sluice {

inline constexpr size_t kEventFileBytesMax = 512 * 1024;  // of each of the two files

// Appends the event. ENOENT: there is no state directory. The caller does not hold the StateLock.
Result<void> append_event(const DeviceEvent& event);

// For commands: appends an event with the current time. Errors are ignored: the command itself has
// succeeded.
void record_event(const DeviceRecord& record, std::string_view kind, std::string_view text);

}  // namespace sluice
