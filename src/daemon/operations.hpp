// The operations of the command line on devices. A call that fails leaves nothing new behind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/server.hpp"
#include "daemon/state.hpp"

namespace sluice {

// A device that can be opened, and notes for the user about how it was made.
struct Served {
  DeviceRecord record;
  std::vector<std::string> notes;
};

// Starts a server for a new device and returns once the device can be opened.
Result<Served> add_device(const ServeOptions& options);
// Serves a new device in the caller's own process: calls `ready` once the device can be opened, and
// returns when the device is gone. With options.resume it recovers the device that a dead server
// has left under the same number, name or place; if this cannot be recovered, it is removed first.
Result<void> add_device_in_foreground(const ServeOptions& options, const Ready& ready);

struct RecoverOptions {
  bool other_file = false;  // also if another file or disk has replaced a served one under its name
};
// EBUSY: its server still lives, or (with advice) the device was not added for recovery. ESTALE: a
// file or disk was replaced.
Result<Served> recover_device(uint32_t id, const RecoverOptions& options);

// Replaces the server of a device by this program, while requests run. ESRCH: the device has no
// server. EOPNOTSUPP: it cannot be handed over. On failure the old server goes on.
Result<Served> upgrade_device(uint32_t id);

// Ends the server of a ublk device once its requests are answered; later requests wait until the
// device is recovered. EOPNOTSUPP: this device cannot be quiesced, with the reason.
Result<void> quiesce_device(uint32_t id);

// Gives the device this size, or the current size of its backing; returns the new size. ERANGE: it
// would shrink.
Result<uint64_t> resize_device(uint32_t id, std::optional<uint64_t> size_bytes);

struct DeleteOptions {
  bool force = false;  // also when it is mounted or open
  bool wait = true;    // until the id is free again and the server has gone
};
// EBUSY: in use, and not forced.
Result<void> delete_device(uint32_t id, const DeleteOptions& options);

// Binds the thread of a queue to processors.
Result<void> set_queue_affinity(uint32_t id, uint16_t queue, const std::vector<int>& processors);

}  // namespace sluice
